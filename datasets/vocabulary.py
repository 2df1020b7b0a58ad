"""Captions to words, and words to numbers."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Vocabulary", "fold", "tokenize", "tokenize_released"]

_WORD = re.compile(r"\w+")
# Chinese is written without spaces: each ideograph is a word.
_IDEOGRAPH = re.compile("([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")


def fold(caption: str) -> str:
    """The caption without differences of case and of compatible characters (NFKC, case folded)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", caption).casefold())


def tokenize(caption: str) -> list[str]:
    """The caption's words in any language, without punctuation: letters, marks and digits (NFKC, case folded).

    Each Chinese ideograph is a word.
    """
    if caption.isascii():
        return _WORD.findall(caption.lower())
    # Python's \w has no combining marks, which Hindi's or Thai's words hold.
    kept = "".join(map(_kept, fold(caption)))
    return _IDEOGRAPH.sub(r" \1 ", kept).split()


def _kept(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":  # joiners and soft hyphens stand within words
        return ""
    return character if character == "_" or category[0] in "LMN" else " "


def tokenize_released(caption: str) -> list[str]:
    """The caption's words in lower case without punctuation and non-ASCII characters, as in the released code."""
    words = _WORD.findall(caption.replace("\ufffd", " ").lower())
    return [kept for kept in (word.encode("ascii", "ignore").decode() for word in words) if kept]


@dataclass(frozen=True)
class Vocabulary:
    """words[i] is the word of number i; number 0 is padding. A `released` one reads captions as the released code."""

    words: tuple[str, ...]
    released: bool = False

    @classmethod
    def of(cls, words: Iterable[str]) -> Vocabulary:
        """Of words as `tokenize` gives them."""
        return cls(("<end>", *sorted(set(words))))

    @classmethod
    def from_json(cls, text: str | bytes) -> Vocabulary:
        """Raises ValueError where it is not what `to_json` wrote."""
        raw = json.loads(text)
        words, released = raw["words"], raw["released"]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or len(words) < 2:
            raise ValueError("expected a list of words")
        if len(set(words)) < len(words):
            raise ValueError("a word has two numbers")
        if not isinstance(released, bool):
            raise ValueError("released: expected true or false")
        return cls(tuple(words), released)

    def to_json(self) -> str:
        return json.dumps({"released": self.released, "words": list(self.words)}, indent=0)

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def _tokens(self, caption: str) -> list[str]:
        return tokenize_released(caption) if self.released else tokenize(caption)

    def encode(self, caption: str) -> list[int]:
        """The numbers of the caption's known words; unknown words are left out, as in the released code."""
        return [self._numbers[w] for w in self._tokens(caption) if w in self._numbers]

    def unknown(self, caption: str) -> list[str]:
        """The caption's words that have no number; of a released vocabulary as they are written, accents and all."""
        if not self.released:
            return [word for word in tokenize(caption) if word not in self._numbers]
        return [word for word in tokenize(caption) if not self.encode(word)]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        return [self.words[n] for n in numbers]
