"""What is counted while a source is read. Counts of its units add up, in whatever order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from datasets.sources.records import Rejection

__all__ = ["SplitTally", "Tally"]


@dataclass
class SplitTally:
    """Of the images of a split."""

    samples: int = 0
    captions: int = 0
    alone: int = 0  # images that are a class of their own
    classes: set[tuple[int | None, str]] = field(default_factory=set)  # the others': the source's number, name

    def add(self, other: SplitTally) -> None:
        self.samples += other.samples
        self.captions += other.captions
        self.alone += other.alone
        self.classes |= other.classes


@dataclass
class Tally:
    """Of a source, or of a part of it."""

    images: int = 0  # those that are rejected included
    captions: int = 0  # likewise
    splits: dict[str, SplitTally] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    lengths: Counter[int] = field(default_factory=Counter)  # words of a caption → captions
    unknown: Counter[str] = field(default_factory=Counter)  # words that the source's vocabulary lacks
    strips: int = 0  # images of which only the middle is stored
    outside: int = 0  # sum of the shares of the images' pixels outside their middle square, in millionths
    measured: int = 0  # images in that sum
    drawn: int = 0  # images whose split is drawn
    nearest: tuple[int, int] | None = None  # of the one drawn nearest to the test split: its draw, its place
    notes: dict[int, list[str]] = field(default_factory=dict)  # by unit
    rejected: dict[int, list[Rejection]] = field(default_factory=dict)  # by unit

    def add(self, other: Tally) -> None:
        for key in ("images", "captions", "strips", "outside", "measured", "drawn"):
            setattr(self, key, getattr(self, key) + getattr(other, key))
        for split, counts in other.splits.items():
            self.splits.setdefault(split, SplitTally()).add(counts)
        self.words |= other.words
        self.lengths += other.lengths
        self.unknown += other.unknown
        self.nearest = min(filter(None, (self.nearest, other.nearest)), default=None)
        self.notes |= other.notes
        self.rejected |= other.rejected

    def of(self, split: str) -> SplitTally:
        return self.splits.get(split, SplitTally())

    @property
    def rejections(self) -> list[Rejection]:
        """In the source's order."""
        return [entry for unit in sorted(self.rejected) for entry in self.rejected[unit]]

    @property
    def said(self) -> list[str]:
        """What the reader noted, each line once."""
        return list(dict.fromkeys(line for unit in sorted(self.notes) for line in self.notes[unit]))

    def to_json(self) -> bytes:
        return _TALLY.dump_json(self)

    @classmethod
    def from_json(cls, content: bytes) -> Tally:
        """Raises ValueError where it is not what `to_json` wrote."""
        tally: Tally = _TALLY.validate_json(content)
        return tally


_TALLY = TypeAdapter(Tally)
