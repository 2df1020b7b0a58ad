"""An image's own caption among mismatching ones, by the codes that judges make of images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dmgan.evaluation.captions import UnseenCaptions
from dmgan.evaluation.judges import Judge
from dmgan.evaluation.metrics import Ranked
from dmgan.evaluation.metrics.r_precision import Distractors, matching_scores

__all__ = ["Ranking"]

_MATCHED_TOGETHER = 256  # images, each with its distractors' sentences


class Ranking:
    """Ranks images among the captions of a split, whose sentences every judge has encoded."""

    def __init__(
        self,
        captions: UnseenCaptions,
        judges: Mapping[str, Judge],
        sentences: Mapping[str, Tensor],
        distractors: int,
        seed: int,
    ) -> None:
        """`sentences` of the distinct captions by each judge, (distinct captions, D)."""
        self._captions, self._judges = captions, judges
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

    def ranked(
        self, judge: str, codes: Tensor, images: list[Tensor], indices: np.ndarray, captions: np.ndarray
    ) -> Ranked:
        """What a judge finds of uint8 images, batch by batch, whose quick codes (N, D) and captions these are.

        Comparisons closer than the judge's `doubt` are decided by exact codes; all are, where an exact code moved one
        by more than half of that: then rounding is coarser than the doubt allows for.
        """
        matching, margin = self.margins(judge, codes, indices, captions)
        doubt = self._judges[judge].doubt
        close = np.flatnonzero((margin.abs() < doubt).cpu().numpy())
        if len(close):
            found, exact = self._exactly(judge, images, indices, captions, close)
            if (exact - margin[close]).abs().max() > doubt / 2:
                close = np.arange(len(indices))
                found, exact = self._exactly(judge, images, indices, captions, close)
            matching[close], margin[close] = found, exact
        return Ranked(matching.cpu().numpy(), (margin > 0).cpu().numpy())

    def _exactly(
        self, judge: str, images: list[Tensor], indices: np.ndarray, captions: np.ndarray, chosen: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """`margins` by exact codes of the `chosen` images."""
        batches = torch.cat(images)[chosen].split(len(images[0]))
        codes = torch.cat([self._judges[judge].codes(batch) for batch in batches])
        return self.margins(judge, codes, indices[chosen], captions[chosen])
