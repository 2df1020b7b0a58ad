"""Words to numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Vocabulary", "tokenize"]

_WORD = re.compile(r"\w+")


def tokenize(caption: str) -> list[str]:
    """The caption's words in lower case without punctuation and non-ASCII characters, as in the released code."""
    words = _WORD.findall(caption.replace("\ufffd", " ").lower())
    return [kept for kept in (word.encode("ascii", "ignore").decode() for word in words) if kept]


@dataclass(frozen=True)
class Vocabulary:
    """words[i] is the word of number i; number 0 is padding."""

    words: tuple[str, ...]

    @classmethod
    def build(cls, captions: Iterable[str]) -> Vocabulary:
        return cls(("<end>", *sorted({word for caption in captions for word in tokenize(caption)})))

    @classmethod
    def from_json(cls, text: str | bytes) -> Vocabulary:
        return cls(tuple(json.loads(text)["words"]))

    def to_json(self) -> str:
        return json.dumps({"words": list(self.words)}, indent=0)

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def encode(self, caption: str) -> list[int]:
        """The numbers of the caption's known words; unknown words are left out, as in the released code."""
        return [self._numbers[w] for w in tokenize(caption) if w in self._numbers]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        return [self.words[n] for n in numbers]
