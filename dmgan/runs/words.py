"""Words behind the pixels (Fig. 6): what the memory wrote and what the image read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

__all__ = ["Word", "is_function_word", "top_words"]

Word = tuple[int, str, float]  # position in the caption, word, value
_FUNCTION_WORDS = """
    a an the this that these those it its they their there he his she her him them we our you your i my one
    is are was were be been being am has have had do does did can could will would may might which who whose what
    and or but nor as if so than then while of in on at to from by with without for into onto over under up down out
    off near about above below between through along around across very also some any all both each other
"""


def top_words(
    reading: Sequence[Tensor | np.ndarray], writing: Sequence[Tensor | np.ndarray], words: Sequence[str], count: int = 5
) -> list[dict[str, list[Word]]]:
    """Of a caption, per refinement: the words written with the widest gate and read by the most pixels.

    `words` are the caption's, T of them. `reading` has for each refinement the mean over pixels of each word's weight α
    (T,), which goes under "read" (the weights of all words sum to 1), and `writing` its writing gate g_w (T,), 0…1,
    which goes under "written"; it is empty without that gate.
    """
    result = []
    for i, weights in enumerate(reading):
        stage = {"read": _top(weights, words, count)}
        if writing:
            stage["written"] = _top(writing[i], words, count)
        result.append(stage)
    return result


def _top(values: Tensor | np.ndarray, words: Sequence[str], count: int) -> list[Word]:
    values = values.detach() if isinstance(values, Tensor) else values
    found = [float(value) for value in values[: len(words)]]
    order = sorted(range(len(found)), key=lambda t: -found[t])[:count]
    return [(t, words[t], found[t]) for t in order]


def is_function_word(word: str) -> bool:
    """Whether an English word, or the token that is one, joins others and names nothing that could be seen."""
    return word.strip("\u2581\u0120 _").lower() in _FUNCTION_WORDS.split()
