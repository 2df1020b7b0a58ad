"""Changing a good file at random."""

from __future__ import annotations

import json
import random
import re
from typing import Any

__all__ = ["mutated"]

# Parts that went wrong for somebody.
_HOSTILE = [
    b"null",
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 400,
    b"true",
    b'""',
    b"[]",
    b"{}",
    b"[" * 2000,
    b'{"a":' * 500,
    b"../../etc/passwd",
    b"/etc/passwd",
    b"\x00",
    b"\\ud800",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "тест 鳥 é".encode(),
    b"\r\n",
    b"\n\n",
    b",,,,",
    b'"',
    b"'",
    b"a: &a [*a]\n",
    b"!!python/object/apply:os.system [id]",
    b"<<: *x",
    b"yes",
    b"1:30",
    b"010",
    b".inf",
    b"2024-02-30",
    b"None",
    b"=cmd()",
    b"<script>",
    b"--name ..",
    b"--set =",
    b"--storage s3:/x",
    b"s3://",
    b"file:///",
    b"~",
    b" ",
    b"\t",
    b"%s%n",
    b"A" * 5000,
]
_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    float("nan"),
    "",
    "x",
    "../x",
    [],
    [None],
    {},
    {"a": 1},
    "\x00",
    "\ud800",
]
_WORDS = re.compile(rb"[A-Za-z0-9_.+-]+")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with one to four changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice((_flip, _cut, _repeat, _swap, _insert, _replace, _replace, _value, _value))(content, rng)
    return content


def _flip(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:first] if rng.random() < 0.5 else content[:first] + content[last:]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:last] + content[first:last] * rng.choice((1, 2)) + content[last:]


def _swap(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines)


def _insert(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice(_HOSTILE) + content[place:]


def _replace(content: bytes, rng: random.Random) -> bytes:
    words = list(_WORDS.finditer(content))
    if not words:
        return rng.choice(_HOSTILE)
    word = rng.choice(words)
    return content[: word.start()] + rng.choice(_HOSTILE) + content[word.end() :]


def _value(content: bytes, rng: random.Random) -> bytes:
    """Another value somewhere in a JSON document; of other files some word."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return _replace(content, rng)
    if not isinstance(tree, dict | list) or not tree:
        return _replace(content, rng)
    where: Any = tree
    while True:
        key = rng.choice(list(where) if isinstance(where, dict) else range(len(where)))
        if isinstance(where[key], dict | list) and where[key] and rng.random() < 0.8:
            where = where[key]
            continue
        if rng.random() < 0.2:
            del where[key]
        else:
            where[key] = rng.choice(_VALUES)
        return json.dumps(tree).encode()
