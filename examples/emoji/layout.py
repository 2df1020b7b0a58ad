"""Unpacked packages to a folder of captioned images, as `datasets.sources.folder` reads it.

DEST/images/1f34e.png     a picture, named by its code points
DEST/captions.jsonl       {"image", "captions", "class", "split"}, one picture a line, in Unicode's order
DEST/LICENSES.md          the licences of the packages
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from examples.emoji.captions import Annotation, captions_of
from examples.emoji.packages import Package, PackageError

__all__ = ["TEST_SHARE", "LaidOut", "Sources", "lay_out"]

TEST_SHARE = 0.1


@dataclass(frozen=True)
class Sources:
    """The four packages: pictures by code points, Unicode's groups, CLDR's annotations and those it derives."""

    pictures: Package
    groups: Package
    annotations: Package
    derived: Package


@dataclass
class LaidOut:
    """What was laid out, and how many emoji were left out for which reason."""

    images: Counter[str] = field(default_factory=Counter)  # by split
    captions: int = 0
    classes: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Emoji:
    stem: str  # code points in hexadecimal with hyphens, as both packages name the pictures
    group: str
    subgroup: str

    @property
    def characters(self) -> str:
        """As CLDR's keys have it: without the variation selector that asks for a coloured picture."""
        return "".join(chr(int(code, 16)) for code in self.stem.split("-") if code != "fe0f")


def lay_out(sources: Sources, dest: Path, language: str = "en", flags: bool = False) -> LaidOut:
    """Write the pictures, captions and licences to `dest`, an empty folder. Raises PackageError.

    Skin tones are left out, which would be the same picture and name six times; so are flags unless asked for, what
    has no picture or no name and keywords in the language, and a picture that is the same as an earlier one.
    """
    annotations = _annotations(sources, language)
    (dest / "images").mkdir()
    done, seen = LaidOut(), set[bytes]()
    with (dest / "captions.jsonl").open("w", encoding="utf-8") as table:
        for emoji in _emoji(sources.groups):
            reason = _left_out(emoji, sources.pictures, annotations, flags)
            if reason is None and not _add_picture(emoji, sources.pictures, dest, seen):
                reason = "the same picture as another"
            if reason is not None:
                done.left_out[reason] += 1
                continue
            texts = captions_of(annotations[emoji.characters], emoji.subgroup, language)
            row = _row(emoji, texts)
            table.write(json.dumps(row, ensure_ascii=False) + "\n")
            done.images[str(row["split"])] += 1
            done.captions += len(texts)
            done.classes.add(str(row["class"]))
    if not done.images:
        raise PackageError(f"{_named(sources.pictures)}: no picture is one of an emoji with a name in {language}")
    packages = (sources.pictures, sources.groups, sources.annotations, sources.derived)
    (dest / "LICENSES.md").write_text("\n".join(_licences(packages)), encoding="utf-8")
    return done


def _row(emoji: _Emoji, captions: Sequence[str]) -> dict[str, object]:
    # Of the name alone, so that another language or a later version has the same test images.
    drawn = int.from_bytes(hashlib.sha256(emoji.stem.encode()).digest()[:8], "big") / 2**64
    return {
        "image": f"images/{emoji.stem}.png",
        "captions": list(captions),
        "class": f"{emoji.group}: {emoji.subgroup}",
        "split": "test" if drawn < TEST_SHARE else "train",
    }


def _emoji(groups: Package) -> Iterator[_Emoji]:
    """All emoji without their skin tones, in Unicode's order. Raises PackageError."""
    try:
        entries = sorted(groups.json("emoji.json"), key=lambda entry: (int(entry["sort_order"]), entry["unified"]))
        for entry in entries:
            emoji = _Emoji(entry["unified"].lower(), entry["category"], entry["subcategory"])
            _ = emoji.characters  # raises ValueError where it is not code points
            yield emoji
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise PackageError(
            f"{_named(groups)}: emoji.json: expected a list of objects with unified, category, subcategory and "
            f"sort_order ({type(error).__name__}: {error})"
        ) from None


def _annotations(sources: Sources, language: str) -> dict[str, Annotation]:
    """By emoji, those with a name and keywords. Raises PackageError."""
    folder = sources.annotations.root / "annotations"
    known = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not known:
        raise PackageError(f"{_named(sources.annotations)}: annotations: expected a folder of languages")
    if language not in known:
        near = [name for name in known if name[:1] == language[:1]] or known
        raise PackageError(f"--language {language}: expected one of {_named(sources.annotations)}: {', '.join(near)}")
    found = {}
    for package, key in ((sources.annotations, "annotations"), (sources.derived, "annotationsDerived")):
        path = f"{key}/{language}/annotations.json"
        entries = package.json(path, key, "annotations")
        try:
            for characters, entry in entries.items():
                names, keywords = entry.get("tts", []), entry.get("default", [])
                if names and keywords:
                    found[characters] = Annotation(str(names[0]), tuple(map(str, keywords)))
        except (AttributeError, KeyError, TypeError) as error:
            raise PackageError(f"{_named(package)}: {path}: expected lists tts and default ({error})") from None
    return found


def _left_out(emoji: _Emoji, pictures: Package, annotations: dict[str, Annotation], flags: bool) -> str | None:
    """Why; None where it is not."""
    if emoji.group == "Component":
        return "skin tones and other parts of emoji"
    if emoji.group == "Flags" and not flags:
        return "flags (--flags keeps them)"
    if not _picture(pictures, emoji).is_file():
        return f"not drawn in {_named(pictures)}"
    return None if emoji.characters in annotations else "without name and keywords in this language"


def _picture(pictures: Package, emoji: _Emoji) -> Path:
    return pictures.root / "assets" / f"{emoji.stem}.webp"


def _add_picture(emoji: _Emoji, pictures: Package, dest: Path, seen: set[bytes]) -> bool:
    """As PNG with its transparency; False where the same is in `seen` already. Raises PackageError."""
    source, target = _picture(pictures, emoji), dest / "images" / f"{emoji.stem}.png"
    try:
        with Image.open(source) as opened:
            image = opened.convert("RGBA")
    except Exception as error:  # a damaged image makes a decoder raise anything
        raise PackageError(f"{_named(pictures)}: {source.name}: the image does not decode ({error})") from None
    digest = hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()
    if digest in seen:
        return False
    seen.add(digest)
    image.save(target)
    return True


def _licences(packages: Sequence[Package]) -> Iterator[str]:
    yield "# Licences\n\nThe pictures and texts in this folder come from these npm packages, in this order: pictures,"
    yield "groups, names and keywords. The pictures are Microsoft's Fluent Emoji, which Microsoft gives under the MIT"
    yield "licence; the package says who packed them.\n"
    for package in packages:
        yield f"## {_named(package)}\n\nDeclared licence: {package.licence}. {package.homepage}\n"
        text = package.licence_text()
        yield "The package has no LICENSE file.\n" if text is None else f"```\n{text.strip()}\n```\n"


def _named(package: Package) -> str:
    return f"{package.name}@{package.version}"
