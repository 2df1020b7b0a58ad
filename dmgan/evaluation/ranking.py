"""An image's own caption among mismatching ones, by the codes that judges make of images."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dmgan.evaluation.captions import UnseenCaptions
from dmgan.evaluation.judges import Judge
from dmgan.evaluation.metrics import Ranked
from dmgan.evaluation.metrics.r_precision import Distractors, matching_scores

__all__ = ["SAMPLE", "Ranking"]

_MATCHED_TOGETHER = 256  # images, each with its distractors' sentences
SAMPLE = 4  # images of a part that are coded both ways, to measure how far rounding moves cosines


class Ranking:
    """Ranks images among the captions of a split, whose sentences every judge has encoded."""

    def __init__(
        self,
        captions: UnseenCaptions,
        judges: Mapping[str, Judge],
        sentences: Mapping[str, Tensor],
        distractors: int,
        seed: int,
        batch_size: int,
    ) -> None:
        """`sentences` of the distinct captions by each judge, (distinct captions, D); images are coded in batches."""
        self._captions, self._judges, self._batch_size = captions, judges, batch_size
        self._sentences = {name: F.normalize(each, dim=1) for name, each in sentences.items()}
        self._distractors = Distractors(captions.classes, captions.distinct, distractors, seed)

    def margins(
        self, judge: str, codes: Tensor, indices: np.ndarray, captions: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cosine of each image's code (N, D) with its own caption (N,), and by how much no other's is as large (N,).

        `captions` are the numbers of the images' own captions, by default those of the generated images `indices`.
        """
        captions = self._captions.of(indices) if captions is None else captions
        distinct, sentences = self._captions.distinct, self._sentences[judge]
        parts = []
        for start in range(0, len(indices), _MATCHED_TOGETHER):
            part = slice(start, start + _MATCHED_TOGETHER)
            own, classes = distinct[captions[part]], self._captions.classes[captions[part]]
            wrong = distinct[self._distractors.of(indices[part], classes, own)]
            chosen = (torch.from_numpy(each).to(sentences.device) for each in (own, wrong))
            parts.append(matching_scores(codes[part], *(F.embedding(each, sentences) for each in chosen)))
        matching, margin = (torch.cat(column) for column in zip(*parts, strict=True))
        return matching, margin

    def ranked(self, judge: str, codes: Tensor, images: Tensor, indices: np.ndarray, captions: np.ndarray) -> Ranked:
        """What a judge finds of uint8 images (N, 3, H, W), whose quick codes (N, D) and captions these are.

        Where those are rounded, exact codes decide the comparisons that rounding could turn.
        """
        matching, margin = self.margins(judge, codes, indices, captions)
        if self._judges[judge].rounds:

            def decide(chosen: np.ndarray) -> Tensor:
                exact = self._exact(judge, images[chosen])
                matching[chosen], margin[chosen] = self.margins(judge, exact, indices[chosen], captions[chosen])
                return exact

            sample = np.unique(np.linspace(0, len(indices) - 1, SAMPLE, dtype=int))
            doubt = self._doubt(judge, codes[sample], decide(sample))
            close = np.setdiff1d(np.flatnonzero((margin.abs() < doubt).cpu().numpy()), sample)
            if len(close):
                decide(close)
        return Ranked(matching.cpu().numpy(), (margin > 0).cpu().numpy())

    def _exact(self, judge: str, images: Tensor) -> Tensor:
        return torch.cat([self._judges[judge].codes(batch) for batch in images.split(self._batch_size)])

    def _doubt(self, judge: str, codes: Tensor, exact: Tensor) -> Tensor:
        """How close two captions' cosines must be for rounding to turn them, by images' codes (N, D) of both kinds.

        That is eight standard deviations of what it adds to their difference, of the image with the most.
        """
        moved = (F.normalize(codes, dim=1) - F.normalize(exact, dim=1)) @ self._sentences[judge].t()
        return 8 * sqrt(2) * moved.std(dim=1).max()
