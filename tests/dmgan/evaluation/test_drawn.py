"""Reading the drawn worlds: what a picture shows by geometry and colour alone."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.sources.drawn import birds2, scenes
from datasets.sources.drawn.scene import make_scenes
from datasets.sources.drawn.species import make_species
from dmgan.evaluation.drawn_birds import ATTRIBUTES, read_birds
from dmgan.evaluation.drawn_scenes import holds, read_scenes


def stored(pictures: list[Image.Image], off: int = 6) -> Tensor:
    """As they are packed and cropped: uint8 (N, 3, 64, 64)."""
    found = []
    for picture in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=95)
        found.append(np.asarray(Image.open(buffer).crop((off, 12 - off, off + 64, 76 - off))))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def test_real_birds_are_read_wherever_they_are_cropped() -> None:
    test = make_species()[1][:24]
    for off in (2, 10):
        images = stored([birds2.draw(species, 300 + i, off, 76) for i, species in enumerate(test)], off)
        wrong = [
            (i, name)
            for i, (species, seen) in enumerate(zip(test, read_birds(images), strict=True))
            for name in ATTRIBUTES
            if seen[name] != (birds2.pose(300 + i, off) if name == "pose" else getattr(species, name))
        ]
        assert len(wrong) <= 2, wrong


def test_a_larger_picture_is_read_as_well_and_a_mirrored_one() -> None:
    species = make_species()[1][5]
    picture = torch.from_numpy(np.asarray(birds2.draw(species, 305, 3, 304))[24:280, 24:280].copy()).permute(2, 0, 1)
    seen = read_birds(torch.stack([picture, picture.flip(2)]))
    assert seen[0] == seen[1] and (seen[0]["body"], seen[0]["wing"]) == (species.body, species.wing)


def test_a_change_of_one_part_changes_that_part_alone() -> None:
    species = make_species()[0][0]
    colours = [colour for colour in ATTRIBUTES["crown"] if colour != species.crown]
    images = stored([birds2.draw(replace(species, crown=colour), 0, 1, 76) for colour in (species.crown, *colours)])
    seen = read_birds(images)
    assert [one["crown"] for one in seen] == [species.crown, *colours]
    assert all({**one, "crown": ""} == {**seen[0], "crown": ""} for one in seen)


def test_real_scenes_are_read() -> None:
    test = make_scenes()[1][:40]
    seen = read_scenes(stored([scenes.draw(scene, 1600 + i, 1, 76) for i, scene in enumerate(test)]))
    wrong = 0
    for scene, found in zip(test, seen, strict=True):
        assert found.keys() == {thing.colour for thing in scene.things}
        wrong += sum(found[thing.colour].shape != thing.shape for thing in scene.things)
        assert all(holds(found, a.colour, direction, b.colour) for a, direction, b in scene.relations)
        a, direction, b = scene.relations[0]
        assert not holds(found, b.colour, direction, a.colour)
    assert wrong <= 2


def test_an_empty_picture_shows_nothing() -> None:
    grey = torch.full((2, 3, 64, 64), 170, dtype=torch.uint8)
    assert read_scenes(grey) == [{}, {}]
    assert all(one.keys() == ATTRIBUTES.keys() for one in read_birds(grey))
