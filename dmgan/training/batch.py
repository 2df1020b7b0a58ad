"""A batch as a training step takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from datasets.errors import UserError
from datasets.stream import Batch
from dmgan.model.tokenizers import Tokenizer

__all__ = ["TrainingBatch", "UnknownWordsError", "caption_tensors", "to_device", "tokenised"]


class UnknownWordsError(UserError):
    """A caption has no word that the tokenizer knows; one line."""


@dataclass(frozen=True)
class TrainingBatch:
    """Images uint8 (b, 3, S, S); ids int64 (b, T) of their captions padded with 0; lengths and classes int64 (b,)."""

    images: Tensor
    ids: Tensor
    lengths: Tensor
    classes: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> TrainingBatch:
        """On the device; nothing waits for it."""
        return TrainingBatch(*(to_device(tensor, device) for tensor in self.tensors))

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.images, self.ids, self.lengths, self.classes

    def rows(self, first: int, last: int) -> TrainingBatch:
        """The rows [first, last)."""
        part = slice(first, last)
        return TrainingBatch(*(tensor[part] for tensor in self.tensors))

    def chunks(self, parts: int) -> list[TrainingBatch]:
        """So many equal parts."""
        size = len(self) // parts
        return [self.rows(i * size, (i + 1) * size) for i in range(parts)]


def tokenised(batch: Batch, tokenizer: Tokenizer, max_words: int) -> TrainingBatch:
    """A batch of the stream with its captions as ids, T = `max_words`.

    Of a longer caption random ids in their order are kept, as released, or the first where nothing is drawn. Raises
    UnknownWordsError.
    """
    ids, lengths = caption_tensors(batch.captions, tokenizer, max_words, batch.draws)
    return TrainingBatch(batch.images, ids, lengths, batch.classes)


def caption_tensors(
    captions: Sequence[str], tokenizer: Tokenizer, max_words: int, draws: Sequence[int | None] | None = None
) -> tuple[Tensor, Tensor]:
    """ids (B, T) int64 padded with 0, lengths (B,); T = `max_words`, longer captions are cut.

    Raises UnknownWordsError for a caption without a known word.
    """
    rows: list[list[int]] = []
    for row, caption in enumerate(captions):
        words = tokenizer.encode(caption)
        if not words:
            raise UnknownWordsError(f"caption {caption!r}: none of its words is in the vocabulary")
        if len(words) > max_words:
            draw = draws[row] if draws is not None else None
            kept = range(max_words) if draw is None else sorted(Random(draw).sample(range(len(words)), max_words))
            words = [words[i] for i in kept]
        rows.append(words)
    padded = [words + [0] * (max_words - len(words)) for words in rows]
    ids = torch.tensor(padded, dtype=torch.int64).view(len(rows), max_words)
    return ids, torch.tensor([len(words) for words in rows], dtype=torch.int64)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """To the device, from pinned memory so that nothing waits."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
