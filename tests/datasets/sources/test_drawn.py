"""The drawn worlds `birds-2` and `scenes`: what is drawn, said and held out."""

from __future__ import annotations

from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from datasets.captions import load_captions
from datasets.manifest import load_manifest
from datasets.packing.command import parse_options, read_source
from datasets.packing.pack import pack
from datasets.sources.drawn import birds2, scenes
from datasets.sources.drawn.bird_captions import captions, named
from datasets.sources.drawn.scene import OPPOSITE, held_out_pairs, make_scenes
from datasets.sources.drawn.scene_captions import captions as scene_captions
from datasets.sources.drawn.scene_captions import claims
from datasets.sources.drawn.species import POSES, Species, make_species
from datasets.sources.options import PackOptions
from datasets.sources.records import Entries, Record, Source
from datasets.stream import ReadOptions, open_stream


def truth(species: Species, pose: str) -> dict[str, str]:
    return {
        "body": species.body,
        "wing": species.wing,
        "breast": species.breast,
        "marking": species.marking,
        "marks": species.marks,
        "crown": species.crown,
        "beak": species.beak,
        "length": species.beak_length,
        "size": species.size,
        "bars": species.wing_bars,
        "eyering": species.eyering,
        "pose": pose,
    }


def test_test_species_combine_colours_that_training_never_combines() -> None:
    train, test = make_species()
    assert (len(train), len(test)) == (300, 100) and len({s.name for s in [*train, *test]}) == 400
    assert not {(s.body, s.wing) for s in train} & {(s.body, s.wing) for s in test}
    assert {s.body for s in test} <= {s.body for s in train} and {s.wing for s in test} <= {s.wing for s in train}


def test_what_a_birds_caption_names_is_what_is_read_in_it() -> None:
    seen = set()
    for i, species in enumerate(islice(zip(*make_species(), strict=False), 60)):
        for one in species:
            pose = POSES[i % len(POSES)]
            texts = captions(one, pose, np.random.default_rng(i))
            assert len(set(texts)) == 10
            for text in texts:
                found = named(text)
                assert found.items() <= truth(one, pose).items(), text
                assert found["body"] == one.body and len(found) > 1
                assert sum(word in text for word in ("breast", "belly")) == 0 or "breast" in found
                assert ("wing" in text.replace("wings raised", "")) == bool({"wing", "bars"} & found.keys()), text
                seen |= found.keys()
    assert seen == set(truth(species[0], ""))
    assert named("a man rides a horse past a red barn") == {}


def test_what_a_scenes_caption_claims_is_what_is_read_in_it() -> None:
    train, test = make_scenes()
    for i, scene in enumerate([*train[:150], *test[:150]]):
        true = set(scene.relations) | {(b, OPPOSITE[r], a) for a, r, b in scene.relations}
        texts = scene_captions(scene, np.random.default_rng(i))
        assert len(set(texts)) == 10
        for text in texts:
            said = claims(text)
            assert set(said.relations) <= true and set(said.things) <= set(scene.things), text
            assert len(said.things) == len(said.relations) + 1 and all(str(thing) in text for thing in said.things)
    assert claims("a dog left of a cat").things == () and claims("left of a red ball, below it").relations == ()


def test_test_scenes_have_things_that_training_never_shows() -> None:
    train, test = make_scenes()
    unseen = held_out_pairs()
    pairs = [{(thing.colour, thing.shape) for thing in scene.things} for scene in (*train, *test)]
    assert (len(train), len(test), len(unseen)) == (1600, 400, 10)
    assert not any(unseen & found for found in pairs[:1600]) and all(unseen & found for found in pairs[1600:])
    shown = set().union(*pairs[:1600])
    assert {c for c, _ in unseen} <= {c for c, _ in shown} and {s for _, s in unseen} <= {s for _, s in shown}


@pytest.mark.parametrize("kind", ["birds", "scenes"])
def test_a_picture_is_the_same_every_time_and_alike_at_every_size(kind: str) -> None:
    draw = (
        partial(birds2.draw, make_species()[0][3], 3)
        if kind == "birds"
        else partial(scenes.draw, make_scenes()[0][5], 5)
    )
    assert draw(1, 76).tobytes() == draw(1, 76).tobytes() != draw(2, 76).tobytes()
    small, large = (np.asarray(draw(1, size).resize((38, 38)), np.float32) for size in (76, 304))
    assert np.abs(small - large).mean() < 6


def test_things_of_a_scene_are_whole_in_every_crop() -> None:
    for class_id, scene in enumerate(make_scenes()[0][:40]):
        pixels = np.asarray(scenes.draw(scene, class_id, 0, 76), np.float32)
        edge = np.concatenate([part.reshape(-1, 3) for part in (pixels[:12], pixels[:, :12], pixels[:, -12:])])
        assert edge.std(axis=1).max() < 45  # of the muted room alone


@pytest.mark.parametrize(
    ("kind", "module", "classes", "images"), [("birds-2", birds2, 400, 20000), ("scenes", scenes, 2000, 20000)]
)
def test_a_drawn_world_is_packed_without_a_source(
    kind: str, module: object, classes: int, images: int, tmp_path: Path
) -> None:
    options = parse_options(kind, [])
    assert options.resolution == 64
    source = read_source(kind, "-", options)
    first = next(iter(source.entries))
    assert isinstance(first, Record) and len(first.captions) == 10
    of_one = module.records(76, 1)  # type: ignore[attr-defined]
    assert sum(1 for _ in of_one) == classes and images % classes == 0
    few = Source(source.name, Entries(lambda: islice(module.records(38, 1), 6)))  # type: ignore[attr-defined]
    manifest = pack(few, str(tmp_path), PackOptions(resolution=32, processes=1), progress=False)
    assert manifest.name == source.name and load_manifest(str(tmp_path))[0].split("train").samples == 6
    assert next(load_captions(str(tmp_path), "train")).captions


def test_pictures_that_are_not_mirrored(packed: tuple[str, object]) -> None:
    def batches(mirror: bool) -> list[np.ndarray]:
        stream = open_stream(packed[0], split="train", batch_size=8, options=ReadOptions(mirror=mirror))
        return [batch.images.numpy() for batch in stream]

    turned, plain = np.concatenate(batches(True)), np.concatenate(batches(False))
    same = [(a == b).all() for a, b in zip(turned, plain, strict=True)]
    flipped = [(a[..., ::-1] == b).all() for a, b in zip(turned, plain, strict=True)]
    assert all(a or b for a, b in zip(same, flipped, strict=True)) and 0 < sum(flipped) < len(flipped)
