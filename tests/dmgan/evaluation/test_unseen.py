from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from datasets.manifest import Manifest
from datasets.packing.pack import PackOptions, pack
from datasets.sources import folder
from dmgan.evaluation.unseen import overlap


def test_what_the_test_split_shares_with_training_is_counted(tmp_path: Path) -> None:
    rows = [
        ("a.png", "a red bird", "red", "train"),
        ("b.png", "a blue bird", "blue", "train"),
        ("c.png", "A red bird!", "red", "test"),
        ("d.png", "a green owl", "green", "test"),
    ]
    for name, *_ in rows:
        Image.new("RGB", (40, 40)).save(tmp_path / name)
    keys = ("image", "captions", "class", "split")
    (tmp_path / "captions.jsonl").write_text(
        "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows)
    )
    url = str(tmp_path / "out")
    pack(folder.read(tmp_path), url, PackOptions(resolution=16, processes=1), progress=False)
    found = overlap(url)
    assert found is not None
    assert (found.classes, found.classes_in_training) == (2, 1)
    assert (found.captions, found.captions_in_training) == (2, 1)
    assert (found.words, found.new_words) == (5, ("green", "owl"))
    assert str(found) == (
        "1 of the 2 test classes are in training too; 1 of the 2 test captions are there word for word. 2 of its 5 "
        "words are in no training caption, so nothing was learned of them: green, owl."
    )


def test_drawn_birds_have_classes_of_their_own(packed: tuple[str, Manifest]) -> None:
    found = overlap(packed[0])
    assert found is not None and found.classes_in_training == 0
    assert str(found).startswith("None of the 6 test classes is in training;")
