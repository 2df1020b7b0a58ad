"""How unseen a dataset's test split is: what of it training has too."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from datasets.captions import load_captions
from datasets.manifest import load_manifest
from datasets.vocabulary import tokenize

__all__ = ["Overlap", "overlap"]

_LISTED = 8  # words that are named


@dataclass(frozen=True)
class Overlap:
    """Counts of the test split, and of that what the training split has too."""

    classes: int
    classes_in_training: int
    captions: int
    captions_in_training: int  # the same words in the same order
    words: int
    new_words: tuple[str, ...]  # that only the test split has, the most frequent first: their embeddings are untrained

    def __str__(self) -> str:
        """A sentence or two for a report."""
        classes = f"{self.classes_in_training} of the {self.classes} test classes are in training too"
        captions = f"{self.captions_in_training} of the {self.captions} test captions are there word for word"
        if not self.classes_in_training:
            classes = f"none of the {self.classes} test classes is in training"
        if not self.captions_in_training:
            captions = f"none of the {self.captions} test captions is there word for word"
        text = f"{classes[0].upper()}{classes[1:]}; {captions}."
        if self.new_words:
            listed = ", ".join(self.new_words[:_LISTED]) + (", …" if len(self.new_words) > _LISTED else "")
            text += (
                f" {len(self.new_words)} of its {self.words} words are in no training caption, so nothing was learned "
                f"of them: {listed}."
            )
        return text


def overlap(url: str) -> Overlap | None:
    """Of the packed dataset at `url`; None where it has no test or no training split. Raises ManifestError."""
    manifest, _ = load_manifest(url)
    if not {"test", "train"} <= manifest.splits.keys():
        return None
    captions, classes = list[tuple[str, ...]](), set[int]()
    for entry in load_captions(url, "test", manifest):
        captions += (tuple(tokenize(text)) for text in entry.captions)
        classes.add(entry.class_id)
    frequency = Counter(word for text in captions for word in text)
    # Of training only what the test split has is kept: training may be too much to hold.
    wanted, known, trained, words = set(captions), set[tuple[str, ...]](), set[int](), set[str]()
    for entry in load_captions(url, "train", manifest):
        texts = [tuple(tokenize(text)) for text in entry.captions]
        known |= wanted.intersection(texts)
        words |= frequency.keys() & {word for text in texts for word in text}
        trained |= classes & {entry.class_id}
    return Overlap(
        classes=len(classes),
        classes_in_training=len(trained),
        captions=len(captions),
        captions_in_training=sum(text in known for text in captions),
        words=len(frequency),
        new_words=tuple(sorted(frequency.keys() - words, key=lambda word: (-frequency[word], word))),
    )
