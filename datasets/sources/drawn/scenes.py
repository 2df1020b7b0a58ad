"""`scenes`: 20,000 drawn scenes of two or three coloured shapes in relations, as COCO's pictures have many objects.

Nothing is read: SOURCE is not looked at (`-` will do), and every picture is drawn while it is packed, straight at the
stored size. Training must not mirror the pictures (`data.mirror=false`), which would turn left into right. What a
picture shows can be read again (`dmgan/evaluation/drawn_scenes.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.sources.drawn import backgrounds
from datasets.sources.drawn.canvas import RGB, Canvas, DrawnImage, Frame, composed, ellipse
from datasets.sources.drawn.scene import Scene, make_scenes
from datasets.sources.drawn.scene_captions import captions
from datasets.sources.drawn.scene_shapes import PALETTE, paint_shape
from datasets.sources.options import PackOptions
from datasets.sources.records import Entries, Entry, Reader, Record, Source, readers

__all__ = ["IMAGES_A_SCENE", "NAME", "draw", "records"]

NAME = "drawn scenes"
IMAGES_A_SCENE = 10
_SEED = 2
_ROOMS: tuple[tuple[RGB, RGB], ...] = (
    ((172, 188, 200), (152, 130, 106)),
    ((196, 184, 168), (138, 136, 126)),
    ((172, 186, 166), (160, 146, 122)),
    ((188, 176, 184), (126, 142, 132)),
    ((178, 176, 160), (152, 134, 116)),
)
_EDGE = (0.295, 0.705)  # where centres may lie, as shares of the side: a random crop leaves all things whole
_SHADOW = 200


def draw(scene: Scene, class_id: int, image: int, size: int) -> Image.Image:
    """Picture `image` of the scene: RGB, `size` pixels a side. The same arrangement at every size."""
    rng = _random(class_id, image, 1)
    canvas = Canvas(size * (4 if size < 128 else 2))
    tones, floor = _ROOMS[int(rng.integers(len(_ROOMS)))], rng.uniform(0.62, 0.78)
    radius = rng.uniform(0.108, 0.126)
    centres = _placed(scene, rng)
    frames = [
        Frame(
            (x * canvas.side, y * canvas.side), radius * rng.uniform(0.97, 1.03) * canvas.side, rng.uniform(-0.1, 0.1)
        )
        for x, y in centres
    ]
    colours: dict[int, RGB] = {_SHADOW: _scaled(tones[1], 0.80)}
    for frame in frames:
        x, y = frame.centre
        shadow = ellipse(x + 0.18 * frame.scale, y + 1.05 * frame.scale, 0.85 * frame.scale, 0.12 * frame.scale)
        canvas.fill(shadow, _SHADOW)
    for number, (thing, frame) in enumerate(zip(scene.things, frames, strict=True)):
        label = 1 + 3 * number
        paint_shape(canvas, frame, thing.shape, label, light=label + 1, shade=label + 2)
        base = _tinted(PALETTE[thing.colour], rng)
        colours |= {label: base, label + 1: _towards(base, 255, 0.22), label + 2: _scaled(base, 0.82)}
    picture = composed(canvas, colours, backgrounds.room(rng, size, tones, floor))
    return backgrounds.grained(picture, _random(class_id, image, 2))


def _random(class_id: int, image: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([_SEED, 43, class_id, image, purpose])


def _placed(scene: Scene, rng: np.random.Generator) -> list[tuple[float, float]]:
    """The centres as shares of the side: the scene somewhere in the picture, each thing a little out of line."""
    centres = np.array(scene.centres(rng.uniform(0.32, 0.37))) + rng.uniform(-0.02, 0.02, (len(scene.things), 2))
    low, high = centres.min(axis=0), centres.max(axis=0)
    at = rng.uniform(_EDGE[0], np.maximum(_EDGE[0], _EDGE[1] - (high - low)))
    return [(float(x), float(y)) for x, y in centres - low + at]


def _tinted(colour: RGB, rng: np.random.Generator) -> RGB:
    r, g, b = (np.array(colour) + rng.uniform(-8, 8, 3)).clip(0, 255).astype(int)
    return int(r), int(g), int(b)


def _scaled(colour: RGB, factor: float) -> RGB:
    return int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor)


def _towards(colour: RGB, other: int, share: float) -> RGB:
    r, g, b = (int(value + share * (other - value)) for value in colour)
    return r, g, b


def records(size: int, images: int = IMAGES_A_SCENE) -> Iterator[Entry]:
    """Every picture, `size` pixels a side, with its ten captions; the pictures of one scene are a class."""
    train, test = make_scenes()
    for class_id, scene in enumerate([*train, *test]):
        for image in range(images):
            name = f"{class_id:04d}_{image:02d}"
            yield Record(
                key=f"{class_id:04d}/{name}",
                image=DrawnImage(f"scenes {name} at {size} pixels", partial(draw, scene, class_id, image, size)),
                captions=tuple(captions(scene, _random(class_id, image, 3))),
                split="train" if class_id < len(train) else "test",
                class_name=f"{class_id:04d}.{scene.name}",
                class_id=class_id,
            )


def _read(source: Path, options: PackOptions) -> Source:
    return Source(NAME, Entries(partial(records, options.stored_size)))


readers.register("scenes", Reader(_read, resolution=64))
