"""Words behind the pixels (Fig. 6): what the memory wrote and what the image read."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dmgan.model.generator import GeneratorOutput

__all__ = ["Word", "top_words"]

Word = tuple[int, str, float]  # position in the caption, word, value


def top_words(out: GeneratorOutput, row: int, words: Sequence[str], count: int = 5) -> list[dict[str, list[Word]]]:
    """For caption `row`, per refinement: the words written with the widest gate and read by the most pixels.

    `words` are the caption's. Under "written" the writing gate g_w of each word (0…1; absent without that gate), under
    "read" the mean over pixels of its weight α (the weights of all words sum to 1).
    """
    result = []
    for i, attention in enumerate(out.attention):
        stage = {"read": _top(attention[row].mean(dim=(1, 2)), words, count)}
        if out.writing_gates:
            stage["written"] = _top(out.writing_gates[i][row, 0], words, count)
        result.append(stage)
    return result


def _top(values: Tensor, words: Sequence[str], count: int) -> list[Word]:
    values = values.detach()
    order = values[: len(words)].argsort(descending=True)[:count]
    return [(int(i), words[int(i)], float(values[i])) for i in order]
