"""What packing decides where a source leaves it open, and says in the manifest's notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from datasets.sources.records import Record

__all__ = ["decide"]


def decide(records: Sequence[Record]) -> tuple[list[Record], tuple[str, ...]]:
    """The records with splits and classes that can be trained on, and a line for each decision."""
    notes: list[str] = []
    found = Counter(record.split for record in records)
    records = list(records)
    if found["validation"] and not found["test"]:
        records = [replace(r, split="test") if r.split == "validation" else r for r in records]
        notes.append(f"{found['validation']} validation images are the test split: there is no other")
        found = Counter(record.split for record in records)
    elif found["validation"]:
        notes.append(f"{found['validation']} validation images are packed and not used: there is a test split")
    if records and not found["test"]:
        notes.append(
            "there are no test images: training on it needs evaluate.enabled=false; give some rows split=test, or "
            "leave split out and test_share of the images are drawn"
        )
    if records and not found["train"]:
        notes.append("there are no training images: the dataset can only be evaluated on; give some rows split=train")
    if found["train"] > 1 and len({record.class_id for record in records if record.split == "train"}) == 1:
        notes.append(
            "all training images are of one class, which leaves words nothing to be told from: every image is a class "
            "of its own"
        )
        records = [replace(r, class_id=i, class_name=r.key) for i, r in enumerate(records)]
    return records, tuple(notes)
