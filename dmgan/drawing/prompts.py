"""Captions as people give them: which can be drawn, what of them is not read, and templates with choices in braces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from datasets.documents import short
from dmgan.drawing.request import DrawingError
from dmgan.drawing.text_to_image import TextToImage

__all__ = ["Template", "parse_template", "usable_captions"]

_MAX_VARIANTS = 4096
_GROUP = re.compile(r"\{([^{}]*)\}")


def usable_captions(captions: Sequence[str], model: TextToImage) -> tuple[list[str], list[str]]:
    """The captions that can be drawn, and a warning for each thing that is not read.

    Raises DrawingError if none can be drawn.
    """
    usable, warnings = [], []
    unknown: dict[str, None] = {}
    for caption in captions:
        reading = model.read(caption)
        if reading.tokens:
            usable.append(caption)
            unknown |= dict.fromkeys(reading.unknown_words)
        else:
            warnings.append(f"caption {caption!r}: none of its words is in the vocabulary; nothing is drawn of it")
        if reading.tokens > model.max_words:
            warnings.append(
                f"caption {caption[:60]!r}…: cut to evaluate.max_words={model.max_words} of its {reading.tokens} tokens"
            )
    if unknown:
        warnings.append(f"not in the vocabulary and left out: {', '.join(unknown)}")
    if not usable:
        raise DrawingError(warnings[0].replace("; nothing is drawn of it", ""))
    return usable, warnings


@dataclass(frozen=True)
class Template:
    """A caption with choices: `texts[0] {choices[0]} texts[1] …`, such as "this bird is {red,blue}"."""

    text: str
    texts: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]

    @property
    def captions(self) -> list[str]:
        """Every choice with every other; those of the last braces follow one another."""
        return [self._with(chosen) for chosen in product(*self.choices)]

    @property
    def rows(self) -> list[str]:
        """A text for each choice of all braces but the last, which shows as …"""
        return [self._with((*chosen, "…")) for chosen in product(*self.choices[:-1])]

    @property
    def columns(self) -> tuple[str, ...]:
        """The choices of the last braces."""
        return self.choices[-1]

    def _with(self, chosen: tuple[str, ...]) -> str:
        parts = [part for pair in zip(self.texts, (*chosen, ""), strict=True) for part in pair]
        return " ".join("".join(parts).split())


def parse_template(text: str) -> Template:
    """A template from "this {small,large} bird is {red,blue}". Raises DrawingError."""
    texts, groups = _GROUP.split(text)[::2], _GROUP.findall(text)
    choices = tuple(tuple(choice.strip() for choice in group.split(",")) for group in groups)
    if not choices or any(set(part) & set("{}") for part in texts):
        raise DrawingError(f"--vary {short(text)}: expected choices in braces, such as {{red,blue}}, none nested")
    for group, found in zip(groups, choices, strict=True):
        if len(found) < 2 or len(set(found)) < len(found):
            raise DrawingError(
                f"--vary {{{short(group)}}}: expected two different choices or more, with commas between"
            )
    if (variants := prod(map(len, choices))) > _MAX_VARIANTS:
        raise DrawingError(f"--vary {short(text)}: makes {variants} captions; expected at most {_MAX_VARIANTS}")
    return Template(text, tuple(texts), choices)
