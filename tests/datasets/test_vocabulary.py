from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from datasets import storage
from datasets.vocabulary import Vocabulary, tokenize, tokenize_released


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


def test_words_of_any_language_are_whole() -> None:
    assert tokenize("a naïve café — 鳥") == ["a", "naïve", "café", "鳥"]
    assert tokenize("une tête élégante") == ["une", "tête", "élégante"]
    assert tokenize("une te\u0302te") == ["une", "tête"]  # the accent as a mark of its own
    assert tokenize("красная птица red") == ["красная", "птица", "red"]
    assert tokenize("一只红鸟") == list("一只红鸟")
    assert tokenize("एक लाल चिड़िया") == [unicodedata.normalize("NFKC", word) for word in ("एक", "लाल", "चिड़िया")]
    assert tokenize("ＳＴＲＡßＥ  soft\u00adhyphen") == ["strasse", "softhyphen"]


def test_a_released_vocabulary_reads_as_the_released_code() -> None:
    assert tokenize_released("a naïve café — 鳥") == ["a", "nave", "caf"]
    words = Vocabulary(("<end>", "a", "caf"), released=True)
    assert words.encode("a café") == [1, 2] and words.unknown("a naïve café 鳥") == ["naïve", "鳥"]
    again = Vocabulary.from_json(words.to_json())
    assert again == words


@pytest.mark.parametrize(
    "text",
    ['{"words": ["a", 1], "released": false}', '{"words": ["a", "a"], "released": false}', "[]", '{"words": "ab"}'],
)
def test_what_is_no_vocabulary_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Vocabulary.from_json(text)


def test_numbers_and_back() -> None:
    vocabulary = Vocabulary.of(word for text in ("a red bird", "a blue bird with wings") for word in tokenize(text))
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
