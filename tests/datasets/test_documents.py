"""YAML that people write: bounded, without surprises, and refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.documents import DocumentError, dump_yaml, parse_yaml, read_text

LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("010", 10),
        (".inf", ".inf"),
        ("2024-02-30", "2024-02-30"),
        ("1e-5", 1e-5),
        ("-.5", -0.5),
        ("0x1F", 31),
        ("true", True),
        ("~", None),
        ("", None),
        ("{a: [1, 2.0, null]}", {"a": [1, 2.0, None]}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(text, "file")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "anchors and aliases are not read"),
        ("a: &a [*a]", "anchors and aliases are not read"),
        ("a: 1\nb: 2\na: 3", "line 3: not readable as YAML: a is there twice"),
        ("a: {b: 1, b: 2}", "b is there twice"),
        ("[" * 100, "nested deeper than"),
        ("[" * 100_000, "nested deeper than"),
        ("a: !!python/object/apply:os.system [ls]", "tags such as"),
        ("a: !!timestamp 2024-02-30", "tags such as"),
        ("a: !!int {b: 1}", "tags such as"),
        ('a: "\\ud800"', "characters that are no text"),
        ('a: "\\0"', "characters that are no text"),
        ("a: 1e999", "1e999 is too large"),
        ("a: " + "9" * 5000, "integer"),
        ("a: " + "9" * 300, "too large"),
        ("? [a]\n: 1", "expected a name as key"),
        ("a: 1\n---\nb: 2", "another document"),
        ("x" * 2_000_000, "larger than"),
        ("\x00", "special characters"),
    ],
)
def test_what_cannot_be_used_is_one_short_line(text: str, reason: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_yaml(text, "file")
    said = str(caught.value)
    assert said.startswith("file") and reason in said and "\n" not in said and len(said) < 300


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**63, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs", "Cc"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcyn01:~.e-", max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(value=VALUES)
def test_what_is_written_is_read_again(value: object) -> None:
    assert parse_yaml(dump_yaml(value), "file") == value


@settings(max_examples=300, deadline=None)
@given(text=st.text("a1:-[]{}&*!?|>'\"%@`#,\n \t\0~.<", max_size=30) | st.text(max_size=20))
def test_any_text_is_a_value_or_one_line(text: str) -> None:
    try:
        parse_yaml(text, "file")
    except DocumentError as error:
        assert len(str(error).splitlines()) == 1


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DocumentError, match="pipe: not a file"):
        read_text(tmp_path / "pipe")
    with pytest.raises(DocumentError, match="/dev/zero: not a file"):
        read_text(Path("/dev/zero"))
    (tmp_path / "latin").write_bytes("é".encode("cp1252"))
    with pytest.raises(DocumentError, match="latin: not UTF-8 at byte 0"):
        read_text(tmp_path / "latin")
