"""What packing decides where a source leaves it open, and says in the manifest's notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from datasets.packing.pixels import LONGEST
from datasets.packing.tally import Tally
from datasets.sources.options import PackOptions

__all__ = ["Decisions", "class_of", "decide"]

_WORTH_SAYING = 0.02  # share of pixels


@dataclass(frozen=True)
class Decisions:
    """Splits and classes that can be trained on, and a line for each decision."""

    renamed: Mapping[str, str]  # split of the source → split of the dataset
    moved: int | None  # place of the training image that becomes the only test image
    classes: Mapping[tuple[int | None, str], int] | None  # numbers; None: every image is a class of its own
    notes: tuple[str, ...]


def decide(tally: Tally, options: PackOptions) -> Decisions:
    """What becomes of the splits and classes that were counted."""
    renamed = {split: split for split in ("train", "test", "validation")}
    notes = tally.said
    moved = None
    train, test, validation = (tally.of(split).samples for split in renamed)
    if validation and not test:
        renamed["validation"] = "test"
        notes.append(f"{validation} validation images are the test split: there is no other")
    elif validation:
        notes.append(f"{validation} validation images are packed and not used: there is a test split")
    elif not test and tally.drawn > 1 and tally.nearest is not None:
        moved = tally.nearest[1]
    elif train and not test:
        notes.append(
            "there are no test images: training on it needs evaluate.enabled=false; give some rows split=test, or "
            "leave split out and test_share of the images are drawn"
        )
    if tally.splits and not train:
        notes.append("there are no training images: the dataset can only be evaluated on; give some rows split=train")
    one_class = train > 1 and not tally.of("train").alone and len(tally.of("train").classes) == 1
    if one_class:
        notes.append(
            "all training images are of one class, which leaves words nothing to be told from: every image is a class "
            "of its own"
        )
    return Decisions(renamed, moved, None if one_class else _numbers(tally), (*notes, *_about(tally, options)))


def _numbers(tally: Tally) -> dict[tuple[int | None, str], int]:
    """The source's own, and those of names in their order after them."""
    named = {entry for counts in tally.splits.values() for entry in counts.classes}
    given = {entry: entry[0] for entry in named if entry[0] is not None}
    first = 1 + max(given.values(), default=-1)
    others = sorted((entry for entry in named if entry[0] is None), key=lambda entry: entry[1])
    return given | {entry: number for number, entry in enumerate(others, start=first)}


def class_of(decisions: Decisions, class_id: int | None, name: str, place: int) -> tuple[int, bool]:
    """The number of a sample's class, and whether the sample is a class of its own, numbered by its place."""
    if decisions.classes is None or (class_id is None and not name):
        return place >> 1, True
    return decisions.classes[class_id, name], False


def _about(tally: Tally, options: PackOptions) -> list[str]:
    """What was found in captions and images."""
    notes = []
    if tally.unknown:
        common = ", ".join(word for word, _ in sorted(tally.unknown.items(), key=lambda e: (-e[1], e[0]))[:5])
        notes.append(
            f"{tally.unknown.total()} words of the captions are not in the source's vocabulary and left out, "
            f"{len(tally.unknown)} different ones, such as {common}"
        )
    if tally.strips:
        notes.append(f"{tally.strips} images are longer than {LONGEST}:1; their middle is stored")
    share = tally.outside / max(1, tally.measured) / 1e6
    if options.fit == "crop" and share > _WORTH_SAYING:
        notes.append(
            f"a square cut out of an image leaves {share:.0%} of its pixels out on average; fit=pad and fit=squash "
            "store whole images"
        )
    return notes
