"""CLIPScore (Hessel et al., EMNLP 2021): how near an image is to its caption in CLIP's space."""

from __future__ import annotations

import numpy as np

from dmgan.evaluation.metrics.metric import Metric, Part, Score, Settings, Sums, Value, metrics

__all__ = ["ClipScore"]


class ClipScore(Metric):
    """100 · max(cos, 0), the mean over the images; without the factor 2.5 of the paper, as it is mostly reported."""

    scores = (Score("clip_score", "CLIP score", "100 × cosine", "higher"),)

    def wanted(self, settings: Settings) -> bool:
        return "clip" in settings.judges

    def generated(self, part: Part, settings: Settings) -> Sums:
        matching = part.ranked["clip"].matching.astype(np.float64)
        return {"n": np.array(len(matching)), "total": np.array(100 * matching.clip(0).sum())}

    def real(self, part: Part, settings: Settings) -> Sums:
        return self.generated(part, settings)

    def result(self, generated: Sums, real: Sums, settings: Settings) -> dict[str, Value]:
        return {"clip_score": float(generated["total"] / generated["n"])}

    def ceiling(self, real: Sums, settings: Settings) -> dict[str, Value]:
        return self.result(real, {}, settings)


metrics.register("clip_score", ClipScore())
