"""Text encoders by name: each owns the tokenizer that turns captions into the ids it takes.

`lstm` is the paper's: a bidirectional LSTM over the words of the dataset's vocabulary (or a released one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from datasets.manifest import load_manifest
from datasets.registry import Registry
from datasets.vocabulary import Vocabulary
from dmgan.config import Model
from dmgan.model.text_encoder import TextEncoder

__all__ = ["TextEncoderKind", "Tokenizer", "text_encoders"]


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
        """What `TextEncoderKind.read_tokenizer` makes it of again; kept as RUN/vocabulary.json."""


@dataclass(frozen=True)
class TextEncoderKind:
    """A text encoder and its tokenizer.

    `build(model, ids, dropout)` gives a module with (ids (B, T) int64 padded with 0, lengths (B,)) -> word features
    (B, N_w, T), whose columns past a caption's end are not used, and sentence (B, N_w).
    """

    build: Callable[[Model, int, float], nn.Module]
    tokenizer: Callable[[str], Tokenizer]  # of the packed dataset at a URL
    read_tokenizer: Callable[[bytes], Tokenizer]


text_encoders: Registry[TextEncoderKind] = Registry("text encoder", "model.text_encoder")


def _lstm(model: Model, ids: int, dropout: float) -> nn.Module:
    return TextEncoder(ids, model.word_dim, model.embedding_dim, dropout)


def _words(url: str) -> Tokenizer:
    return load_manifest(url)[1]


text_encoders.register("lstm", TextEncoderKind(_lstm, _words, Vocabulary.from_json))
