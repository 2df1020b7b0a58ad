"""What the memory wrote and what the image read of each word (Fig. 6), with where it was read."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from datasets.pages.kit import picture
from dmgan.model.generator import GeneratorOutput
from dmgan.pixels import to_array
from dmgan.report.heat import heat
from dmgan.report.pictures import bounded
from dmgan.runs.samples import FixedSamples
from dmgan.runs.words import Word, is_function_word, top_words

__all__ = ["WordRow", "word_rows"]

_CAPTIONS = 4  # whose words are shown
_SIDE = 128  # pixels of a map


@dataclass(frozen=True)
class ShownWord:
    """A word with the width of its writing gate or the weight it is read with."""

    word: str
    value: float
    function_word: bool  # is greyed


@dataclass(frozen=True)
class WordRow:
    """A caption at a refinement."""

    caption: str
    refinement: int
    written: list[ShownWord] | None  # None of a memory without that gate
    read: list[ShownWord]
    maps: list[tuple[ShownWord, Markup]]  # where the words of `read` are
    most: float  # the weight that is as bright as the image itself

    @property
    def lists(self) -> list[tuple[str, list[ShownWord], float]]:
        """What is said of the words: a title, the words, and the value of a full bar, as weights are far below 1."""
        written = [] if self.written is None else [("written (gate)", self.written, 1.0)]
        return [*written, ("read (weight)", self.read, max(word.value for word in self.read))]


def word_rows(samples: FixedSamples, output: GeneratorOutput) -> list[WordRow]:
    """Of a few captions at every refinement; empty of an architecture that attends to no words."""
    rows = []
    for row in range(min(_CAPTIONS, len(samples.captions)) if output.attention else 0):
        reading = [weights[row].mean((1, 2)) for weights in output.attention]
        writing = [gates[row, 0] for gates in output.writing_gates]
        for i, stage in enumerate(top_words(reading, writing, samples.words(row))):
            image = bounded(to_array(output.images[i + 1][row : row + 1])[0], _SIDE)
            attention = output.attention[i][row].cpu().numpy()
            most = max(float(attention[t].max()) for t, _, _ in stage["read"])
            shown = [_shown(word) for word in stage["read"]]
            rows.append(
                WordRow(
                    caption=samples.captions[row],
                    refinement=i + 1,
                    written=[_shown(word) for word in stage["written"]] if "written" in stage else None,
                    read=shown,
                    maps=[
                        (of, picture(heat(image, attention[t], most), f"where “{of.word}” is read"))
                        for of, (t, _, _) in zip(shown, stage["read"], strict=True)
                    ],
                    most=most,
                )
            )
    return rows


def _shown(word: Word) -> ShownWord:
    return ShownWord(word[1], word[2], is_function_word(word[1]))
