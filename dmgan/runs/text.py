"""Captions as the networks take them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datasets.errors import UserError
from datasets.vocabulary import Vocabulary

__all__ = ["UnknownWordsError", "caption_tensors"]


class UnknownWordsError(UserError):
    """A caption has no word that the vocabulary knows; one line."""


def caption_tensors(captions: Sequence[str], vocabulary: Vocabulary, max_words: int) -> tuple[Tensor, Tensor]:
    """captions (B, T) int64 padded with 0, lengths (B,); T = `max_words`, longer captions are cut.

    Raises UnknownWordsError for a caption without a known word.
    """
    numbers = torch.zeros(len(captions), max_words, dtype=torch.int64)
    lengths = torch.zeros(len(captions), dtype=torch.int64)
    for row, caption in enumerate(captions):
        words = vocabulary.encode(caption)[:max_words]
        if not words:
            raise UnknownWordsError(f"caption {caption!r}: none of its words is in the vocabulary")
        numbers[row, : len(words)] = torch.tensor(words)
        lengths[row] = len(words)
    return numbers, lengths
