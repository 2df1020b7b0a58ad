"""Captions of `scenes` and their meaning: the phrases that are written are the ones that are read."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from datasets.sources.drawn.scene import OPPOSITE, Scene, Thing
from datasets.sources.drawn.scene_shapes import PALETTE, SHAPES

__all__ = ["Claims", "captions", "claims"]

_WORDS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
_PAIRS = (
    "a {a} {r} a {b}",
    "there is a {a} {r} a {b}",
    "the {a} is {r} the {b}",
    "a {b} with a {a} {r} it",
    "a picture of a {a} {r} a {b}",
)
_MORE = (" and a {c} {s} the {d}", ", and a {c} is {s} the {d}", " with a {c} {s} the {d}")


@dataclass(frozen=True)
class Claims:
    """What a caption says: things, each once, and relations (a, "left", b): a is left of b."""

    things: tuple[Thing, ...]
    relations: tuple[tuple[Thing, str, Thing], ...]


def captions(scene: Scene, rng: np.random.Generator, count: int = 10) -> list[str]:
    """`count` different sentences about the scene; of three things most name all, some two."""
    found: list[str] = []
    while len(found) < count:
        relations = scene.relations
        first = int(rng.integers(len(relations)))
        a, r, b = _turned(relations[first], rng)
        text = _one(_PAIRS, rng).format(a=a, b=b, r=_one(_WORDS[r], rng))
        if len(relations) == 2 and rng.random() < 0.7:
            c, s, d = relations[1 - first]
            if c in (a, b):
                c, s, d = d, OPPOSITE[s], c
            more = _MORE[:2] if text.endswith(" it") else _MORE
            text += _one(more, rng).format(c=c, s=_one(_WORDS[s], rng), d=d)
        caption = re.sub(r"\ba(?= orange\b)", "an", text)
        if caption not in found:
            found.append(caption)
    return found


def _one(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _turned(relation: tuple[Thing, str, Thing], rng: np.random.Generator) -> tuple[Thing, str, Thing]:
    """The relation, or as well the opposite one of its two things the other way round."""
    a, r, b = relation
    return (b, OPPOSITE[r], a) if rng.random() < 0.5 else (a, r, b)


_DIRECTIONS = {word: direction for direction, words in _WORDS.items() for word in words}
_TOKEN = re.compile(
    rf"\b(?:(?P<colour>{'|'.join(PALETTE)}) (?P<shape>{'|'.join(SHAPES)})"
    rf"|(?P<words>{'|'.join(sorted(_DIRECTIONS, key=len, reverse=True))})|(?P<it>it))\b"
)


def claims(caption: str) -> Claims:
    """What a caption of `scenes` says; nothing of any other text without such phrases.

    A direction is of the last thing named before it, to the next one; "it" is the thing named before that last one.
    """
    things: list[Thing] = []
    relations: list[tuple[Thing, str, Thing]] = []
    waiting: tuple[Thing, str] | None = None
    for token in _TOKEN.finditer(caption):
        if token["words"]:
            waiting = (things[-1], _DIRECTIONS[token["words"]]) if things else None
            continue
        if token["it"]:
            thing = things[-2] if len(things) > 1 else None
        else:
            thing = Thing(token["colour"], token["shape"])
            things.append(thing)
        if waiting is not None and thing is not None:
            relations.append((*waiting, thing))
        waiting = None
    return Claims(tuple(dict.fromkeys(things)), tuple(relations))
