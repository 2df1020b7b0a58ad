from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.captions import load_captions
from datasets.packing.command import read_source
from datasets.sources import birds
from datasets.sources.options import PackOptions
from datasets.sources.records import SourceError
from datasets.stream import open_images
from dmgan.evaluation.metrics.colour_accuracy import colour_hits


def test_test_species_combine_colours_that_training_never_combines() -> None:
    train, test = birds.make_species()
    assert (len(train), len(test)) == (150, 50)
    assert not {(s.body, s.wing) for s in train} & {(s.body, s.wing) for s in test}
    # and yet every colour of a test body and wing was seen on a training body and wing
    assert {s.body for s in test} <= {s.body for s in train}
    assert {s.wing for s in test} <= {s.wing for s in train}
    assert len({s.name for s in [*train, *test]}) == 200


def test_they_are_not_drawn_into_a_folder_whose_name_stands_for_nothing(tmp_path: Path) -> None:
    with (
        contextlib.chdir(tmp_path),
        pytest.raises(SourceError, match="-: expected a folder"),
    ):
        read_source("birds", "-", PackOptions())
    assert not list(tmp_path.iterdir())


def test_captions_are_ten_different_ones_that_name_the_body_colour() -> None:
    train, test = birds.make_species()
    for i, species in enumerate([*train, *test]):
        captions = birds.captions(species, np.random.default_rng(i))
        assert len(set(captions)) == 10
        assert {birds.body_colour(caption) for caption in captions} == {species.body}


def test_a_caption_without_a_body_colour_has_none() -> None:
    assert birds.body_colour("a bird with blue wings") is None
    assert birds.body_colour("this bird has red wings and a green crown") is None


def test_drawing_is_a_function_of_the_seed() -> None:
    species = birds.make_species()[0][3]
    first, box = birds.draw(species, np.random.default_rng(5))
    second, same_box = birds.draw(species, np.random.default_rng(5))
    other, _ = birds.draw(species, np.random.default_rng(6))
    assert first.tobytes() == second.tobytes() and box == same_box
    assert first.tobytes() != other.tobytes()


def test_a_box_encloses_the_bird() -> None:
    for i, species in enumerate(birds.make_species()[0][:20]):
        picture, (x, y, width, height) = birds.draw(species, np.random.default_rng(i))
        assert x >= 0 and y >= 0 and x + width <= picture.width and y + height <= picture.height
        assert min(width, height) > 30


def test_the_colour_check_is_right_on_the_real_birds(packed: tuple[str, object]) -> None:
    images = torch.cat(list(open_images(packed[0], "test", batch_size=8)))
    found = colour_hits(images, [entry.captions[0] for entry in load_captions(packed[0], "test")])
    assert len(found) == len(images) and all(found)


@pytest.mark.parametrize("facing", [False, True])
def test_the_colour_check_does_not_care_where_the_bird_looks(packed: tuple[str, object], facing: bool) -> None:
    images = next(iter(open_images(packed[0], "test", batch_size=5)))
    images = images.flip(3) if facing else images
    left, top, right, bottom = (round(f * 64) for f in birds.BODY_REGION)
    assert images[:, :, top:bottom, left:right].float().std(dim=(2, 3)).max() < 40
