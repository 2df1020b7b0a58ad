"""Splits as they are written into names of files and folders."""

from __future__ import annotations

import re

from datasets.sources.records import SPLITS, split_of

__all__ = ["split_in"]


def split_in(path: str) -> str:
    """The split that a path names, in its last part where it can (data/train-00000.parquet); empty for none."""
    for part in reversed(path.split("/")):
        for word in re.split(r"[^A-Za-z]+", part):
            if word.casefold() in SPLITS:
                return split_of(word)
    return ""
