from __future__ import annotations

import pytest
import torch

from datasets.stream import Batch
from datasets.vocabulary import Vocabulary
from dmgan.training.batch import UnknownWordsError, caption_tensors, tokenised

WORDS = Vocabulary(("<end>", *"abcdefgh"))


def read(captions: list[str], draws: list[int | None]) -> Batch:
    size = len(captions)
    images = torch.zeros(size, 3, 4, 4, dtype=torch.uint8)
    return Batch([str(i) for i in range(size)], images, captions, torch.arange(size), draws)


def test_captions_become_ids_padded_with_zero() -> None:
    batch = tokenised(read(["a c", "b"], [None, None]), WORDS, 4)
    assert batch.ids.tolist() == [[1, 3, 0, 0], [2, 0, 0, 0]] and batch.lengths.tolist() == [2, 1]
    assert len(batch) == 2 and batch.ids.dtype == torch.int64


def test_of_a_long_caption_random_words_are_kept_in_their_order_by_the_sample_alone() -> None:
    caption = "a b c d e f g h"
    drawn = [tokenised(read([caption], [draw]), WORDS, 3).ids[0].tolist() for draw in range(20)]
    assert all(ids == sorted(set(ids)) and len(ids) == 3 for ids in drawn) and len({tuple(ids) for ids in drawn}) > 5
    together = tokenised(read([caption] * 20, list(range(20))), WORDS, 3)
    assert together.ids.tolist() == drawn
    assert tokenised(read([caption], [None]), WORDS, 3).ids.tolist() == [[1, 2, 3]]


def test_rows_and_chunks_are_the_batchs() -> None:
    batch = tokenised(read(["a", "b", "c", "d"], [None] * 4), WORDS, 2)
    first, second = batch.chunks(2)
    assert first.ids.tolist() == batch.rows(0, 2).ids.tolist() and second.classes.tolist() == [2, 3]


def test_a_caption_without_a_known_word_is_named() -> None:
    with pytest.raises(UnknownWordsError, match="caption 'zebra': none of its words"):
        caption_tensors(["a", "zebra"], WORDS, 3)
