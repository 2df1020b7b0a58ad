"""Captions of an emoji from its name and keywords in Unicode's CLDR, which has both in about 170 languages.

Every word but the English articles and "an emoji of" is CLDR's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Annotation", "captions_of"]

_KEYWORDS = 4  # in a caption, so that the text encoder reads all of it
# The subgroups of Unicode whose names are of things one can count. CLDR's names have no article, and of others
# (bread, fog, camping) an article would be wrong.
_COUNTABLE = (
    "animal-",
    "book-paper",
    "cat-face",
    "clothing",
    "face-",
    "food-fruit",
    "geometric",
    "hand-",
    "heart",
    "medical",
    "monkey-face",
    "musical-instrument",
    "person",
    "phone",
    "plant-",
    "tool",
    "transport-air",
    "transport-ground",
    "transport-water",
)
# What follows the noun: "face with …", "person lifting weights", "man: beard".
_AFTER_NOUN = re.compile(r":| (?:and|at|behind|but|in|of|on|with|without|\w+ing)\b")
_WITHOUT = re.compile(  # plurals, and the names of those subgroups that are of nothing one can count
    r"(?:.*[^isu]s|people|men|women|breast-feeding|construction|coral|polish|racing|rail|rolling|star-struck)$"
)
_WORD = re.compile(r"\w+")
_VOWEL = re.compile(r"(?!eu|ewe|one|uni)[aeiou]")  # as it sounds: a unicorn


@dataclass(frozen=True)
class Annotation:
    """What CLDR says of an emoji: its name (`tts`, what a screen reader speaks) and keywords, in one language."""

    name: str
    keywords: tuple[str, ...]


def captions_of(annotation: Annotation, subgroup: str, language: str) -> tuple[str, ...]:
    """Three captions or more, without repetition, each with the name: `subgroup` is Unicode's, `language` CLDR's code.

    "a red apple", "an emoji of a red apple", "a red apple (diet, food, fruit, health)", …; in other languages than
    English the name stands alone, without an article and "an emoji of".
    """
    name = _with_article(annotation.name, subgroup) if language == "en" else annotation.name
    alone = (name, f"an emoji of {name}") if language == "en" else (name,)
    groups = list(_groups(annotation))
    explained = (f"{name} ({', '.join(group)})" for group in groups)
    turned = (f"{', '.join(group)}: {name}" for group in groups[:1])
    return tuple(dict.fromkeys((*alone, *explained, *turned)))


def _with_article(name: str, subgroup: str) -> str:
    """Without one where it is unsure that English has it: a proper name, a plural, what one does not count."""
    noun = _AFTER_NOUN.split(name, maxsplit=1)[0].split()[-1]
    if not subgroup.startswith(_COUNTABLE) or not name[0].islower() or _WITHOUT.match(noun):
        return name
    return f"{'an' if _VOWEL.match(name) else 'a'} {name}"


def _groups(annotation: Annotation) -> Iterator[tuple[str, ...]]:
    """The keywords by `_KEYWORDS`; those that only repeat words of the name come only where there are no others."""
    words = set(_WORD.findall(annotation.name.casefold()))
    new = tuple(keyword for keyword in annotation.keywords if not words.issuperset(_WORD.findall(keyword.casefold())))
    told = new or annotation.keywords
    for first in range(0, len(told), _KEYWORDS):
        yield told[first : first + _KEYWORDS]
