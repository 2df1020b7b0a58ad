"""How much of a source may be left out before packing ends without a dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from datasets import storage
from datasets.packing.tally import Tally
from datasets.sources.records import Rejection, SourceError

__all__ = ["check_hopeless", "check_rejected", "write_rejected"]

_EARLY_IMAGES, _EARLY_SHARE = 10_000, 0.9


def check_rejected(name: str, dest: str, share: float, tally: Tally, rejected: Sequence[Rejection], state: str) -> None:
    """Raise SourceError where more than `share` of the images or captions are rejected, or all images.

    rejected.jsonl is written then and the unfinished pack in `state` removed: the source will be another one.
    """
    captions = sum(entry.caption is not None for entry in rejected)
    images = len(rejected) - captions
    problem = None
    if not tally.splits:
        problem = f"{name}: no image is left to pack; {_first(rejected)}"
    for left_out, total, what in ((images, tally.images, "images"), (captions, tally.captions, "captions")):
        if left_out > share * max(1, total):
            problem = (
                f"{left_out} of {total} {what} rejected, more than max_rejected={share:g} allows; {_first(rejected)}"
            )
            break
    if problem is None:
        return
    listed = ""
    if rejected:
        write_rejected(dest, rejected)
        listed = f"; all in {storage.join(dest, 'rejected.jsonl')}"
    storage.remove_folder(state)
    raise SourceError(problem + listed)


def check_hopeless(name: str, dest: str, tally: Tally) -> None:
    """Raise SourceError where nearly nothing of a large source can be packed, rather than after all of it."""
    rejected = tally.rejections if tally.images >= _EARLY_IMAGES else []
    images = sum(entry.caption is None for entry in rejected)
    if rejected and images > _EARLY_SHARE * tally.images:
        write_rejected(dest, rejected)
        raise SourceError(
            f"{name}: {images} of the first {tally.images} images rejected; {_first(rejected)}; all in "
            f"{storage.join(dest, 'rejected.jsonl')}"
        )


def _first(rejected: Sequence[Rejection]) -> str:
    return f"the first: {rejected[0].image}: {rejected[0].reason}" if rejected else "the source is empty"


def write_rejected(dest: str, rejected: Sequence[Rejection]) -> None:
    """DEST/rejected.jsonl."""
    lines = [
        json.dumps({k: v for k, v in asdict(r).items() if v is not None}, ensure_ascii=False) + "\n" for r in rejected
    ]
    storage.write_bytes(storage.join(dest, "rejected.jsonl"), "".join(lines).encode())
