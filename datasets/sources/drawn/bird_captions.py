"""Captions of `birds-2` and their meaning: the phrases that are written are the ones that are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from datasets.sources.birds import COLOURS
from datasets.sources.drawn.species import MARKINGS, Species

__all__ = ["captions", "named"]

_SIZES = {"small": ("small", "tiny", "little"), "large": ("large", "big")}
_LENGTHS = {"short": ("short", "small pointy", "stubby"), "long": ("long", "long pointed")}
_POSES = {
    "perched": ("perched on a branch", "sitting on a twig"),
    "standing": ("standing on the ground", "standing upright on the ground"),
    "pecking": ("pecking at the ground", "looking for food on the ground"),
    "flying": ("in flight", "flying with its wings raised"),
    "swimming": ("swimming on the water", "floating on the water"),
}
# What is said of each attribute: {body}, {wing}, … are its values, {size}, {length} and {pose} words for them.
_OPENINGS = (
    "this bird is {body}",
    "this {size} bird is mostly {body}",
    "a {size} {body} bird",
    "this bird has a {body} body",
    "the bird is {body} in color",
    "a {body} bodied bird",
)
_PHRASES = {
    "wing": ("{wing} wings", "{wing} wings and tail", "{wing} wing feathers", "its wings are {wing}"),
    "breast": ("a {breast} breast", "a {breast} belly", "a {breast} breast and belly", "its breast is {breast}"),
    "crown": ("a {crown} crown", "a {crown} cap on its head", "the top of its head is {crown}"),
    "beak": ("a {beak} beak", "a {length} {beak} beak", "a {length} {beak} bill", "its bill is {length} and {beak}"),
}
_MARKED = {
    "streaked": ("a {breast} breast streaked with {marks}", "a {breast} and {marks} streaked breast"),
    "spotted": ("a {breast} breast with {marks} spots", "a {breast} and {marks} speckled belly"),
    "banded": ("a {breast} and {marks} breast", "a {breast} breast with {marks} bands"),
}
_BARS = ("{bars} wing bars", "{bars} wingbars on its wings")
_EYES = ("a {eyering} eyering", "a {eyering} ring around its eye")


def captions(species: Species, pose: str, rng: np.random.Generator, count: int = 10) -> list[str]:
    """`count` different sentences on a picture; each names the body's colour and one to three other things."""
    details = {
        "wing": list(_PHRASES["wing"]),
        "breast": list(_MARKED[species.marking] if species.marking != MARKINGS[0] else _PHRASES["breast"]),
        "crown": list(_PHRASES["crown"]),
        "beak": list(_PHRASES["beak"]),
    }
    if species.wing_bars:
        details["bars"] = list(_BARS)
    if species.eyering:
        details["eyering"] = list(_EYES)
    found: list[str] = []
    while len(found) < count:
        kinds = rng.choice(list(details), int(rng.choice([1, 2, 2, 2, 3])), replace=False)
        phrases = [_one(details[str(kind)], rng) for kind in kinds]
        text = _joined(_one(_OPENINGS, rng), phrases)
        if rng.random() < 0.2:
            text += f", {_one(_POSES[pose], rng)}"
        caption = _with_article(text.format_map(_words(species, rng)))
        if caption not in found:
            found.append(caption)
    return found


def _one(choices: list[str] | tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _words(species: Species, rng: np.random.Generator) -> dict[str, str]:
    return {
        "body": species.body,
        "wing": species.wing,
        "breast": species.breast,
        "marks": species.marks,
        "crown": species.crown,
        "beak": species.beak,
        "bars": species.wing_bars,
        "eyering": species.eyering,
        "size": _one(_SIZES[species.size], rng),
        "length": _one(_LENGTHS[species.beak_length], rng),
    }


def _joined(opening: str, phrases: list[str]) -> str:
    """Things that the bird has after "with" or "has"; sentences of their own ("its wings are …") behind a comma."""
    had = [phrase for phrase in phrases if not phrase.startswith(("its ", "the top"))]
    own = [phrase for phrase in phrases if phrase not in had]
    text = opening
    if had:
        text += (" that has " if opening.startswith("a ") else " with ") + " and ".join(had)
    return ", ".join([text, *own])


def _with_article(text: str) -> str:
    return re.sub(r"\ba(?= orange\b)", "an", text)


def named(caption: str) -> dict[str, str]:
    """What a caption of `birds-2` says: attribute → value, for those of body, wing, breast, crown, beak, size, pose,
    marking, marks, bars, eyering and length that it names. Empty for any other text without such phrases."""
    found: dict[str, str] = {}
    for pattern, extra in _patterns():
        if (match := pattern.search(caption)) is not None:
            for attribute, word in {**match.groupdict(), **extra}.items():
                found.setdefault(attribute, _MEANINGS.get(attribute, {}).get(word, word))
    return found


_MEANINGS = {
    "size": {word: value for value, words in _SIZES.items() for word in words},
    "length": {word: value for value, words in _LENGTHS.items() for word in words},
}


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[re.Pattern[str], dict[str, str]]]:
    """The phrases as regular expressions, with what each says besides the words in it. Longer ones come first, so that
    "a white and black breast" is not read as "a … black breast"."""
    return list(_compiled())


def _compiled() -> Iterator[tuple[re.Pattern[str], dict[str, str]]]:
    colour = "|".join(COLOURS)
    words = dict.fromkeys(("body", "wing", "breast", "marks", "crown", "beak", "bars", "eyering"), colour)
    words |= {name: "|".join(sorted(_MEANINGS[name], key=len, reverse=True)) for name in ("size", "length")}

    def pattern(phrase: str, where: str) -> re.Pattern[str]:
        text = re.sub(r"\{(\w+)\}", lambda found: f"(?P<{found[1]}>{words[found[1]]})", phrase)
        return re.compile(where.format(re.sub(r"\ba (?=\(\?P<)", "an? ", text)))

    for opening in _OPENINGS:
        yield pattern(opening, "^{}(?= |,|$)"), {}
    for marking, phrases in _MARKED.items():
        for phrase in phrases:
            yield pattern(phrase, r"\b{}(?= |,|$)"), {"marking": marking}
    for several in (_PHRASES["wing"], _PHRASES["breast"], _PHRASES["crown"], _PHRASES["beak"], _BARS, _EYES):
        for phrase in several:
            yield pattern(phrase, r"\b{}(?= |,|$)"), {}
    for pose, several in _POSES.items():
        for phrase in several:
            yield re.compile(rf"{phrase}$"), {"pose": pose}
