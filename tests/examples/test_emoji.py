"""Captioned emoji from packages that are made here: no network is needed."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from datasets.packing.command import main as pack
from examples.emoji import fetch as command
from examples.emoji.captions import Annotation, captions_of
from examples.emoji.fetch import PACKAGES, fetch
from examples.emoji.layout import LaidOut
from examples.emoji.packages import Package, PackageError, opened
from examples.emoji.packages import fetch as fetch_package

# Code points, group, subgroup, colour of the picture (None: not drawn), CLDR's characters, name and keywords.
EMOJI = [
    (
        "1F34E",
        "Food & Drink",
        "food-fruit",
        "red",
        "🍎",
        "red apple",
        ["apple", "diet", "food", "fruit", "red", "ripe"],
    ),
    ("1F34F", "Food & Drink", "food-fruit", "green", "🍏", "green apple", ["fruit"]),
    ("1F441-FE0F", "People & Body", "body-parts", "blue", "👁", "eye", ["body"]),
    ("1F468-200D-1F373", "People & Body", "person-role", "white", "👨‍🍳", "man cook", ["chef"]),
    ("1F47E", "Smileys & Emotion", "face-costume", "red", "👾", "alien monster", ["game"]),
    ("1F1E9-1F1EA", "Flags", "country-flag", "black", "🇩🇪", "flag: Germany", ["flag"]),
    ("1F3FB", "Component", "skin-tone", "pink", "🏻", "light skin tone", ["skin"]),
    ("1FA89", "Objects", "musical-instrument", None, "🪉", "harp", ["music"]),
    ("1F9FF", "Objects", "other-object", "navy", "🧿", "nazar amulet", []),
]


def save(path: Path, tree: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree), encoding="utf-8")


def unpacked(specification: str, root: Path) -> Path:
    """A package as the registry has it, as far as it is read."""
    name, _, version = specification.rpartition("@")
    save(root / "package.json", {"name": name, "version": version, "license": f"Licence of {name}"})
    if specification == PACKAGES["groups"]:
        keys = ("unified", "category", "subcategory", "sort_order")
        entries = [dict(zip(keys, (*emoji[:3], order), strict=True)) for order, emoji in enumerate(EMOJI)]
        save(root / "emoji.json", entries[::-1])
        (root / "LICENSE").write_text("You may.\n")
    for unified, _, _, colour, characters, tts, keywords in EMOJI:
        derived = "\u200d" in characters or characters == "🇩🇪"
        if specification == PACKAGES["pictures"] and colour:
            (root / "assets").mkdir(exist_ok=True)
            Image.new("RGBA", (40, 40), colour).save(root / "assets" / f"{unified.lower()}.webp", lossless=True)
        elif specification == PACKAGES["derived" if derived else "annotations"]:
            key = "annotationsDerived" if derived else "annotations"
            for language, told in (("en", tts), ("xx", f"{tts} auf xx")):
                path = root / key / language / "annotations.json"
                tree = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {key: {"annotations": {}}}
                tree[key]["annotations"][characters] = {"tts": [told], "default": keywords}
                save(path, tree)
    return root


def lay_out(dest: Path, **options: Any) -> tuple[LaidOut, dict[str, dict[str, Any]]]:
    """What `fetch` says, and the rows of the table by the picture's name."""
    done = fetch(dest, get=lambda name, folder: opened(unpacked(name, folder)), **options)
    rows = [json.loads(line) for line in (dest / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    return done, {Path(row["image"]).stem: row for row in rows}


def test_pictures_captions_and_classes_are_laid_out_in_unicodes_order(tmp_path: Path) -> None:
    done, rows = lay_out(tmp_path / "emoji")
    assert list(rows) == ["1f34e", "1f34f", "1f441-fe0f", "1f468-200d-1f373"]
    assert rows["1f34e"]["captions"] == [
        "a red apple",
        "an emoji of a red apple",
        "a red apple (diet, food, fruit, ripe)",
        "diet, food, fruit, ripe: a red apple",
    ]
    assert rows["1f468-200d-1f373"]["class"] == "People & Body: person-role"
    with Image.open(tmp_path / "emoji" / "images" / "1f34f.png") as image:
        assert image.convert("RGBA").getpixel((20, 20)) == (0, 128, 0, 255)
    assert done.captions == 16 and sum(done.images.values()) == 4


def test_what_is_left_out_is_counted_with_the_reason(tmp_path: Path) -> None:
    done, _ = lay_out(tmp_path / "emoji")
    assert done.left_out == {
        "the same picture as another": 1,
        "flags (--flags keeps them)": 1,
        "skin tones and other parts of emoji": 1,
        f"not drawn in {PACKAGES['pictures']}": 1,
        "without name and keywords in this language": 1,
    }


def test_flags_are_kept_when_asked_for(tmp_path: Path) -> None:
    _, rows = lay_out(tmp_path / "emoji", flags=True)
    assert rows["1f1e9-1f1ea"]["captions"][0] == "flag: Germany"


def test_captions_are_in_the_language_asked_for_without_english_words(tmp_path: Path) -> None:
    _, rows = lay_out(tmp_path / "emoji", language="xx")
    assert rows["1f34f"]["captions"] == [
        "green apple auf xx",
        "green apple auf xx (fruit)",
        "fruit: green apple auf xx",
    ]


def test_licences_of_all_packages_are_written(tmp_path: Path) -> None:
    lay_out(tmp_path / "emoji")
    text = (tmp_path / "emoji" / "LICENSES.md").read_text(encoding="utf-8")
    assert all(
        f"## {name}\n" in text and f"Licence of {name.rpartition('@')[0]}." in text for name in PACKAGES.values()
    )
    assert "You may." in text and text.count("The package has no LICENSE file.") == 3


def test_twice_the_same_is_written_and_it_can_be_packed(tmp_path: Path) -> None:
    lay_out(tmp_path / "one")
    lay_out(tmp_path / "two")
    files = [path.relative_to(tmp_path / "one") for path in sorted((tmp_path / "one").rglob("*.*"))]
    assert len(files) == 6
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
    settings = ["--set", "resolution=16", "--set", "processes=1", "--set", "max_rejected=0"]
    assert pack(["folder", str(tmp_path / "one"), str(tmp_path / "packed"), *settings]) == 0


@pytest.mark.parametrize(
    ("name", "subgroup", "expected"),
    [
        ("unicorn", "animal-mammal", "a unicorn"),
        ("octopus", "animal-marine", "an octopus"),
        ("grapes", "food-fruit", "grapes"),
        ("women wrestling", "person-sport", "women wrestling"),
        ("woman lifting weights", "person-sport", "a woman lifting weights"),
        ("Santa Claus", "person-fantasy", "Santa Claus"),
        ("bread", "food-prepared", "bread"),
    ],
)
def test_english_articles_stand_where_they_are_right(name: str, subgroup: str, expected: str) -> None:
    captions = captions_of(Annotation(name, ("keyword",)), subgroup, "en")
    assert captions == (
        expected,
        f"an emoji of {expected}",
        f"{expected} (keyword)",
        f"keyword: {expected}",
    )


def test_many_keywords_become_several_captions_and_those_in_the_name_serve_where_there_are_no_others() -> None:
    captions = captions_of(Annotation("pomme", tuple("abcdef")), "food-fruit", "fr")
    assert captions == ("pomme", "pomme (a, b, c, d)", "pomme (e, f)", "a, b, c, d: pomme")
    assert captions_of(Annotation("pomme", ("Pomme",)), "", "fr") == ("pomme", "pomme (Pomme)", "Pomme: pomme")


def damaged(file: str, content: str | None) -> Any:
    """As `get` of `fetch`: the packages with another content of the file, or without it."""

    def get(name: str, folder: Path) -> Package:
        path = unpacked(name, folder) / file
        if path.exists():
            path.unlink()
            if content is not None:
                path.write_text(content, encoding="utf-8")
        return opened(folder)

    return get


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("emoji.json", None, "emoji-datasource@.*emoji.json: cannot be read"),
        ("emoji.json", "[", "emoji.json: not JSON"),
        ("emoji.json", '{"a": 1}', "expected a list of objects with unified"),
        (
            "emoji.json",
            '[{"unified": "../x", "category": "a", "subcategory": "b", "sort_order": 1}]',
            "expected a list",
        ),
        (
            "annotations/en/annotations.json",
            '{"annotations": {}}',
            "cldr-annotations-full@.*expected the key annotations",
        ),
        ("assets/1f34e.webp", "none", "1f34e.webp: the image does not decode"),
        ("package.json", '{"name": "x"}', "expected the keys name, version and license"),
    ],
)
def test_packages_of_another_layout_are_refused_and_nothing_is_left(
    tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    with pytest.raises(PackageError, match=message):
        fetch(tmp_path / "emoji", get=damaged(file, content))
    assert not list(tmp_path.iterdir())


def test_an_unknown_language_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"--language \.\./en: expected one of cldr-annotations-full@.*: en, xx"):
        lay_out(tmp_path / "emoji", language="../en")


def test_a_folder_with_files_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(PackageError, match="expected a new or an empty folder"):
        lay_out(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def npm_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Puts a stand-in for npm first on the PATH."""
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def test_a_package_is_what_npm_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "it.tgz", "w:gz") as archive:
        archive.add(unpacked("some@1.2.3", tmp_path / "some"), "package")
    npm_that(tmp_path, monkeypatch, f'[ "$1 $2" = "pack some@1.2.3" ] && cp {tmp_path / "it.tgz"} .')
    package = fetch_package("some@1.2.3", tmp_path / "work")
    assert (package.name, package.version, package.licence) == ("some", "1.2.3", "Licence of some")


def test_npms_complaint_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ("code ENOTFOUND", "errno ENOTFOUND", "no network", "A complete log of this run can be found in: x")
    npm_that(tmp_path, monkeypatch, "\n".join(f"echo 'npm error {line}' >&2" for line in lines) + "\nexit 1")
    assert command.main([str(tmp_path / "emoji")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"npm pack {PACKAGES['pictures']}: code ENOTFOUND; no network" in said
    assert not (tmp_path / "emoji").exists()


def test_without_npm_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match="npm: not found on the PATH"):
        fetch_package("some@1.2.3", tmp_path / "work")
