from __future__ import annotations

from datasets.manifest import Manifest
from dmgan.evaluation.captions import UnseenCaptions


def test_every_caption_once_before_any_twice(packed: tuple[str, Manifest]) -> None:
    captions = UnseenCaptions(packed[0], seed=0)
    assert len(captions.texts) == 300 and sorted(captions.of(range(300, 600))) == list(range(300))
    assert set(captions.class_names.values()) != {""}
