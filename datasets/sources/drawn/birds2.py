"""`birds-2`: 20,000 drawn birds of 400 species, at any resolution, with captions in CUB's kinds of phrase.

Nothing is read: SOURCE is not looked at (`-` will do), and every picture is drawn while it is packed, straight at the
stored size. Pictures, captions and split are functions of the version alone; a change of what is drawn needs a new
name, so that figures stay true. What a picture shows can be read again (`dmgan/evaluation/drawn_birds.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.sources.birds import COLOURS
from datasets.sources.drawn import backgrounds
from datasets.sources.drawn.bird_captions import captions
from datasets.sources.drawn.bird_shapes import SCALES, Form, Region, paint, pose_of
from datasets.sources.drawn.canvas import RGB, Canvas, DrawnImage, Frame, composed
from datasets.sources.drawn.species import POSES, Species, make_species
from datasets.sources.options import PackOptions
from datasets.sources.records import Entries, Entry, Reader, Record, Source, readers

__all__ = ["IMAGES_A_SPECIES", "NAME", "draw", "pose", "records"]

NAME = "drawn birds 2"
IMAGES_A_SPECIES = 50
_SEED = 2

_PLACES = {
    "perched": ("sky", "forest", "dusk", "meadow"),
    "standing": ("sand", "meadow", "dusk", "forest"),
    "pecking": ("sand", "meadow", "forest"),
    "flying": ("sky", "dusk", "forest", "water"),
    "swimming": ("water", "sky", "dusk"),
}
_GROUNDS: dict[str, tuple[RGB, RGB]] = {
    "sand": ((206, 184, 140), (182, 160, 118)),
    "meadow": ((146, 168, 92), (122, 146, 78)),
    "forest": ((150, 142, 104), (124, 116, 82)),
    "dusk": ((176, 148, 124), (150, 122, 104)),
}
_BARK: tuple[RGB, RGB] = ((112, 92, 80), (86, 68, 58))
_WATER: tuple[RGB, RGB] = ((104, 148, 164), (150, 186, 196))


def pose(class_id: int, image: int) -> str:
    """The pose of a species' picture."""
    return POSES[int(_random(class_id, image, 0).integers(len(POSES)))]


def draw(species: Species, class_id: int, image: int, size: int) -> Image.Image:
    """Picture `image` of the species: RGB, `size` pixels a side. The same scene at every size."""
    name, rng = pose(class_id, image), _random(class_id, image, 1)
    setting = _PLACES[name][int(rng.integers(len(_PLACES[name])))]
    tilt = pose_of(name).tilt + rng.uniform(-0.07, 0.07)
    scale = SCALES[species.size] * rng.uniform(0.97, 1.03)
    centre = (rng.uniform(0.48, 0.52), rng.uniform(0.48, 0.52) + pose_of(name).lower)
    facing = int(rng.choice([-1, 1]))
    form = Form(
        beak_length=species.beak_length,
        marking=species.marking,
        has_bars=bool(species.wing_bars),
        has_eyering=bool(species.eyering),
        neck=rng.uniform(-0.02, 0.03),
        seed=int(rng.integers(2**31)),
    )
    canvas = Canvas(size * (4 if size < 128 else 2))
    frame = Frame((centre[0] * canvas.side, centre[1] * canvas.side), scale * canvas.side, tilt, facing)
    paint(canvas, frame, name, form)
    ground = backgrounds.place(setting, rng, size)
    picture = composed(canvas, _colours(species, setting, rng), ground)
    return backgrounds.grained(_lit(picture, rng), _random(class_id, image, 2))


def _random(class_id: int, image: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([_SEED, 22, class_id, image, purpose])


def _colours(species: Species, setting: str, rng: np.random.Generator) -> dict[int, RGB]:
    def tint(name: str, brightness: float = 1.0) -> RGB:
        r, g, b = (np.array(COLOURS[name]) * brightness + rng.uniform(-7, 7, 3)).clip(0, 255).astype(int)
        return int(r), int(g), int(b)

    wing = tint(species.wing)
    darker = 0.72 if sum(wing) > 150 else 1.9
    found = {
        Region.BODY: tint(species.body),
        Region.WING: wing,
        Region.BREAST: tint(species.breast),
        Region.CROWN: tint(species.crown),
        Region.BEAK: tint(species.beak),
        Region.FAR_WING: tint(species.wing, 0.85),
        Region.FEATHERS: (int(wing[0] * darker), int(wing[1] * darker), int(wing[2] * darker)),
        Region.OUTLINE: (46, 40, 38),
        Region.EYE: (18, 16, 16),
        Region.LEGS: (92, 70, 52),
    }
    for region, colour in (
        (Region.MARKS, species.marks),
        (Region.BARS, species.wing_bars),
        (Region.EYERING, species.eyering),
    ):
        if colour:
            found[region] = tint(colour)
    ground = _GROUNDS.get(setting, _GROUNDS["sand"])
    pairs = {Region.PERCH: _BARK, Region.GROUND: ground, Region.WATER: _WATER}
    for region, (plain, shade) in pairs.items():
        found |= {region: plain, Region(region + 1): shade}
    return {int(region): colour for region, colour in found.items()}


def _lit(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light from above, a little more or less of it."""
    size = len(picture)
    light = np.linspace(1.04, 0.96, size, dtype=np.float32)[:, None, None] * np.float32(rng.uniform(0.98, 1.02))
    return picture * light


def records(size: int, images: int = IMAGES_A_SPECIES) -> Iterator[Entry]:
    """Every picture, `size` pixels a side, with its ten captions."""
    train, test = make_species()
    for class_id, species in enumerate([*train, *test]):
        for image in range(images):
            name = f"{class_id:03d}_{image:03d}"
            texts = captions(species, pose(class_id, image), _random(class_id, image, 3))
            yield Record(
                key=f"{class_id:03d}/{name}",
                image=DrawnImage(f"birds-2 {name} at {size} pixels", partial(draw, species, class_id, image, size)),
                captions=tuple(texts),
                split="train" if class_id < len(train) else "test",
                class_name=f"{class_id:03d}.{species.name}",
                class_id=class_id,
            )


def _read(source: Path, options: PackOptions) -> Source:
    return Source(NAME, Entries(partial(records, options.stored_size)))


readers.register("birds-2", Reader(_read, resolution=64))
