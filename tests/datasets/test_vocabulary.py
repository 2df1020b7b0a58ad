from __future__ import annotations

from pathlib import Path

import pytest

from datasets import storage
from datasets.vocabulary import Vocabulary, tokenize


def test_tokens_are_lower_case_words_without_punctuation() -> None:
    assert tokenize("This bird's BEAK is short, and \ufffd\ufffdblue.") == [
        "this",
        "bird",
        "s",
        "beak",
        "is",
        "short",
        "and",
        "blue",
    ]


def test_non_ascii_characters_are_dropped_from_words() -> None:
    assert tokenize("a naïve café — 鳥") == ["a", "nave", "caf"]


def test_numbers_and_back() -> None:
    vocabulary = Vocabulary.build(["a red bird", "a blue bird with wings"])
    assert vocabulary.words[0] == "<end>" and len(vocabulary) == 7
    numbers = vocabulary.encode("A blue, unheard-of bird")
    assert vocabulary.decode(numbers) == ["a", "blue", "bird"] and 0 not in numbers
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_storage_refuses_what_it_does_not_know() -> None:
    with pytest.raises(storage.StorageError, match="unknown scheme"):
        storage.exists("ftp://host/file")


def test_absolute_is_one_way_to_write_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("a/../runs") == storage.absolute(str(tmp_path / "runs")) == str(tmp_path.resolve() / "runs")
    assert storage.absolute("s3://bucket/x") == "s3://bucket/x"


def test_join_keeps_schemes() -> None:
    assert storage.join("s3://bucket/a/", "b", "c") == "s3://bucket/a/b/c"
    assert storage.join("runs/", "x") == "runs/x" and storage.join("/", "x") == "/x"
