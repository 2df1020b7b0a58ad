"""Tokenizers of `text.tokenizer`, learnt of a dataset's training captions and kept as RUN/vocabulary.json.

`words`: the dataset's vocabulary, or a released one. `bpe`: pieces of words, byte-level byte-pair encoding, which knows
every text. `characters`: those of the training captions. All read captions without case and punctuation; the last two
keep symbols, emoji among them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Literal, Protocol

import tokenizers
from pydantic import BaseModel, ConfigDict, model_validator
from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers

from datasets.captions import load_captions
from datasets.manifest import load_manifest
from datasets.vocabulary import Vocabulary, fold, tokenize
from dmgan.config import ConfigError, Text

__all__ = ["Tokenizer", "captions_of", "check_vocabulary", "learn_tokenizer", "read_tokenizer"]

# Otherwise the library warns whenever a process that has trained one forks, to start a server for example.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

_SPACE, _INSIDE = "␣", "##"  # how a space and a piece that goes on with a word are shown
_PADDING = "<pad>"
_MIN_PAIRS = 2  # times that two pieces must follow one another to become one


class Tokenizer(Protocol):
    """Captions to ids and back. Id 0 is padding; `len` is one more than the largest id."""

    def __len__(self) -> int: ...

    def encode(self, caption: str) -> list[int]:
        """The caption's ids, each above 0; what it does not know is left out."""

    def unknown(self, caption: str) -> list[str]:
        """What `encode` leaves out, as people write it."""

    def decode(self, ids: Iterable[int], /) -> list[str]:
        """A text for each id."""

    def to_json(self) -> str:
        """What it is made of again; kept as RUN/vocabulary.json."""


def learn_tokenizer(url: str, text: Text) -> Tokenizer:
    """The tokenizer of the packed dataset at `url`; the same captions give the same one.

    Raises ConfigError, ManifestError, StorageError.
    """
    if text.tokenizer == "bpe":
        return _learn_bpe(captions_of(url, "train"), text.vocabulary_size)
    if text.tokenizer == "characters":
        return _learn_characters(captions_of(url, "train"))
    vocabulary = load_manifest(url)[1]
    check_vocabulary(url, vocabulary, text)
    return vocabulary if text.min_count == 1 else _frequent(vocabulary, captions_of(url, "train"), text.min_count)


def read_tokenizer(content: bytes, text: Text) -> Tokenizer:
    """What a tokenizer's `to_json` wrote. Raises ValueError where it is damaged, or not of `text.tokenizer`."""
    raw = json.loads(content)
    if not isinstance(raw, dict):
        raise ValueError("expected a tokenizer")
    found = "words" if "words" in raw else raw.get("tokenizer")
    if found != text.tokenizer:
        raise ValueError(f"holds a tokenizer of {found!r}, but text.tokenizer={text.tokenizer}")
    return Vocabulary.from_json(content) if text.tokenizer == "words" else _Pieces(_Saved.model_validate_json(content))


def captions_of(url: str, split: str) -> Iterator[str]:
    """The captions of a split of the packed dataset at `url`, in stored order. Raises ManifestError, StorageError."""
    for entry in load_captions(url, split):
        yield from entry.captions


def check_vocabulary(url: str, vocabulary: Vocabulary, text: Text) -> None:
    """Raise ConfigError where words of the dataset's vocabulary are to be left out that a released one has numbered."""
    if text.min_count > 1 and vocabulary.released:
        raise ConfigError(
            f"text.min_count={text.min_count}: expected 1: {url} was packed with a released vocabulary, whose numbers "
            "stay as they are"
        )


class _Saved(BaseModel):
    """vocabulary.json of bpe and characters: `tokens[i]` is that of id i + 1; `merges` in the order they are made."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    tokenizer: Literal["bpe", "characters"]
    tokens: list[str]
    merges: list[tuple[str, str]]

    @model_validator(mode="after")
    def _whole(self) -> _Saved:
        known = set(self.tokens)
        if not known or not all(known) or len(known) < len(self.tokens):
            raise ValueError("tokens: expected some, each once")
        if self.tokenizer == "bpe" and (not known.issuperset(_bytes()) or any(set(t) - set(_bytes()) for t in known)):
            raise ValueError("tokens: expected every byte, and what is made of bytes")
        if self.tokenizer == "characters" and (self.merges or any(len(token) != 1 for token in known)):
            raise ValueError("tokens: expected characters, and no merges")
        if any(not known.issuperset((*pair, "".join(pair))) for pair in self.merges):
            raise ValueError("merges: expected pairs of tokens that make another one")
        return self


class _Pieces:
    """bpe and characters: byte-pair encoding, with or without pairs."""

    def __init__(self, saved: _Saved) -> None:
        self._saved = saved
        self._numbers = {token: i for i, token in enumerate(saved.tokens)}
        self._fast = _pipeline(saved.tokenizer, models.BPE(vocab=self._numbers, merges=saved.merges))
        shown = _shown_piece if saved.tokenizer == "bpe" else _shown_character
        self._texts = [_PADDING, *map(shown, saved.tokens)]

    def __len__(self) -> int:
        return len(self._texts)

    def encode(self, caption: str) -> list[int]:
        return [number + 1 for number in self._fast.encode(_folded(caption)).ids]

    def unknown(self, caption: str) -> list[str]:
        """The characters that are not in the training captions; of bpe none."""
        if self._saved.tokenizer == "bpe":
            return []
        return [character for character in _normalised(caption) if character not in self._numbers]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """A text for each id: of bpe with ## before a piece that goes on with a word."""
        return [self._texts[i] for i in ids]

    def to_json(self) -> str:
        return json.dumps(self._saved.model_dump(), indent=0)


def _frequent(vocabulary: Vocabulary, captions: Iterable[str], min_count: int) -> Vocabulary:
    """The words that captions have at least so many times, in all."""
    counts = Counter(word for caption in captions for word in tokenize(caption))
    padding, *words = vocabulary.words
    return Vocabulary((padding, *(word for word in words if counts[word] >= min_count)))


def _learn_bpe(captions: Iterable[str], size: int) -> Tokenizer:
    fast = _pipeline("bpe", models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1,  # padding is none of its tokens: no caption can hold it
        min_frequency=_MIN_PAIRS,
        initial_alphabet=list(_bytes()),
        show_progress=False,
    )
    fast.train_from_iterator(map(_folded, captions), trainer)
    model = json.loads(fast.to_str())["model"]
    merges = [(first, second) for first, second in model["merges"]]
    return _Pieces(_Saved(tokenizer="bpe", tokens=sorted(model["vocab"], key=model["vocab"].get), merges=merges))


def _learn_characters(captions: Iterable[str]) -> Tokenizer:
    known = {" "}  # captions of one word each have none
    for caption in captions:
        known.update(_normalised(caption))
    return _Pieces(_Saved(tokenizer="characters", tokens=sorted(known), merges=[]))


def _pipeline(kind: Literal["bpe", "characters"], model: models.BPE) -> tokenizers.Tokenizer:
    fast = tokenizers.Tokenizer(model)
    fast.normalizer = _normalizer()
    if kind == "bpe":  # a word's first piece begins with a space
        bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
        fast.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), bytes_of])
    return fast


@cache
def _normalizer() -> normalizers.Normalizer:
    """Punctuation becomes a space, and joiners and soft hyphens, which stand within words, nothing."""
    between = Regex(r"(?:[^\P{P}_]|[\p{Z}\p{Cc}])+")
    parts = [normalizers.Replace(Regex(r"\p{Cf}"), ""), normalizers.Replace(between, " "), normalizers.Strip()]
    return normalizers.Sequence(parts)


def _folded(caption: str) -> str:
    """Without case, and without halves of surrogate pairs, which are no characters."""
    return fold(caption).encode("utf-8", "replace").decode()


def _normalised(caption: str) -> str:
    return _normalizer().normalize_str(_folded(caption))


@cache
def _bytes() -> dict[str, int]:
    """The byte behind each character of byte-level pieces: itself where it is printable, else one from 256 on."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    printable = [ord(character) for character in characters if ord(character) < 256]
    return dict(zip(characters, [*printable, *sorted(set(range(256)) - set(printable))], strict=True))


def _shown_piece(piece: str) -> str:
    """Its text; of a part of a character the bytes, such as \\xf0."""
    written = bytes(_bytes()[character] for character in piece).decode("utf-8", "backslashreplace")
    return (written[1:] or _SPACE) if written.startswith(" ") else _INSIDE + written


def _shown_character(character: str) -> str:
    return _SPACE if character == " " else character
