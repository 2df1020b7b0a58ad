"""The captions of the test split that images are generated from, and which of them each image is of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.captions import load_captions
from dmgan.evaluation.metrics.r_precision import available_distractors
from dmgan.evaluation.protocol import SPLIT

__all__ = ["UnseenCaptions"]


class UnseenCaptions:
    """Every caption of the test split, and which of them each generated image is of."""

    def __init__(self, url: str, seed: int) -> None:
        entries = list(load_captions(url, SPLIT))
        self._first = np.cumsum([0, *(len(entry.captions) for entry in entries)])
        self.texts = [text for entry in entries for text in entry.captions]
        self.classes = np.array([entry.class_id for entry in entries for _ in entry.captions])
        self._order = np.random.default_rng([seed, 1]).permutation(len(self.texts))
        self.class_names = {entry.class_id: entry.class_name for entry in entries}
        # Captions that say the same are encoded once.
        self.distinct_texts = list(dict.fromkeys(self.texts))
        where = {text: i for i, text in enumerate(self.distinct_texts)}
        self.distinct = np.array([where[text] for text in self.texts])  # of each caption its distinct text

    def of(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The numbers of the captions of images `indices`: all in an order drawn by the seed, again and again."""
        return self._order[np.asarray(indices) % len(self._order)]

    @property
    def distractors(self) -> int:
        """The most mismatching captions that every image can be compared with."""
        return available_distractors(self.classes, self.distinct)

    @property
    def images(self) -> int:
        """Real images of the split."""
        return len(self._first) - 1

    def of_real(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The numbers of the captions by which the real images `indices` are judged: their own, each in its turn."""
        i = np.asarray(indices)
        return self._first[i] + i % (self._first[i + 1] - self._first[i])
