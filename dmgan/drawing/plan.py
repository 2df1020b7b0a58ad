"""Which pictures a command makes, in which order, and where each stands on the grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dmgan.drawing.prompts import Template
from dmgan.drawing.request import Request

__all__ = ["Item", "Plan", "captions_plan", "template_plan"]


@dataclass(frozen=True)
class Item:
    """A picture: noise `number` of caption `row`, on the grid's line `line` with that label."""

    row: int
    request: Request
    line: int
    label: str


@dataclass(frozen=True)
class Plan:
    """`count` pictures of each caption, a function of their number alone, so that any part can be made anywhere.

    Captions are in groups of `beside`, which share their random numbers and stand beside one another on a line of the
    grid, one line a noise. A caption alone has its noises beside one another.
    """

    captions: tuple[str, ...]
    count: int
    seed: int
    truncation: float | None = None
    beside: int = 1
    labels: tuple[str, ...] = ()  # of the groups; their captions where there are none
    columns: tuple[str, ...] = ()  # the grid's header
    noise_caption: str | None = None  # whose random numbers all have; their own where there is none

    def __len__(self) -> int:
        return len(self.captions) * self.count

    @property
    def is_template(self) -> bool:
        return self.noise_caption is not None

    def item(self, index: int) -> Item:
        """The picture of that number."""
        group, within = divmod(index, self.beside * self.count)
        number, column = divmod(within, self.beside)
        row = group * self.beside + column
        request = Request(self.captions[row], number, self.seed, self.truncation, noise_caption=self.noise_caption)
        if not self.is_template:
            return Item(row, request, row, self.captions[row])
        label = self.labels[group] + (f" (noise {number})" if self.count > 1 else "")
        return Item(row, request, index // self.beside, label)

    def items(self, first: int = 0, last: int | None = None) -> Iterator[Item]:
        """The pictures [first, last), made as they are asked for."""
        return (self.item(index) for index in range(first, len(self) if last is None else last))


def captions_plan(captions: Sequence[str], count: int, seed: int, truncation: float | None = None) -> Plan:
    """`count` pictures of each caption."""
    return Plan(tuple(captions), count, seed, truncation)


def template_plan(template: Template, count: int, seed: int, truncation: float | None = None) -> Plan:
    """`count` pictures of each variant, all with the noise of the template, so that the words alone differ."""
    return Plan(
        tuple(template.captions),
        count,
        seed,
        truncation,
        beside=len(template.columns),
        labels=tuple(template.rows),
        columns=template.columns,
        noise_caption=template.text,
    )
