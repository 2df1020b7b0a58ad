"""Surroundings in muted tones, which no colour of the palette is near to, so that what is drawn can be read again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from datasets.sources.drawn.canvas import RGB

__all__ = ["PLACES", "grained", "place", "room"]

# Top and bottom of each place.
PLACES: dict[str, tuple[RGB, RGB]] = {
    "sky": ((132, 174, 208), (178, 206, 224)),
    "forest": ((116, 150, 128), (168, 186, 132)),
    "meadow": ((168, 198, 196), (172, 190, 112)),
    "dusk": ((176, 156, 178), (226, 186, 160)),
    "sand": ((170, 196, 206), (212, 192, 152)),
    "water": ((156, 190, 200), (108, 152, 170)),
}


def place(name: str, rng: np.random.Generator, size: int) -> np.ndarray:
    """The place, float32 (size, size, 3), with soft lights out of focus; at every size the same of the same `rng`."""
    top, bottom = (np.array(tone, np.float32) for tone in PLACES[name])
    shade = _gradient(top, bottom, size, rng.uniform(0.8, 1.4)) + np.float32(rng.uniform(-8, 8))
    blobs = [
        (rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.16), rng.uniform(-16, 16))
        for _ in range(int(rng.integers(5, 12)))
    ]
    return shade + _lights(blobs, size, stretch=2.2 if name in ("sky", "water") else 1.0)[..., None]


def room(rng: np.random.Generator, size: int, tones: Sequence[RGB], floor: float) -> np.ndarray:
    """A wall above a floor that begins at the share `floor` of the height, float32 (size, size, 3)."""
    wall, ground = (np.array(tone, np.float32) for tone in tones)
    image = _gradient(wall - 6, wall + 6, size, 1.0)
    first = round(floor * size)
    image[first:] = _gradient(ground - 12, ground + 8, size, 1.0)[: size - first]
    light = [(rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.4), 0.35, rng.uniform(4, 10))]
    return image + _lights(light, size, 1.0)[..., None]


def grained(image: np.ndarray, rng: np.random.Generator, deviation: float = 2.5) -> Image.Image:
    """The picture (S, S, 3) with a film's grain."""
    grain = deviation * rng.standard_normal((*image.shape[:2], 1), dtype=np.float32)
    return Image.fromarray((image + grain).clip(0, 255).astype(np.uint8))


def _gradient(top: np.ndarray, bottom: np.ndarray, size: int, power: float) -> np.ndarray:
    rows = (np.linspace(0, 1, size, dtype=np.float32) ** np.float32(power))[:, None, None]
    return np.ascontiguousarray(np.broadcast_to((1 - rows) * top + rows * bottom, (size, size, 3)), np.float32)


def _lights(blobs: Sequence[tuple[float, float, float, float]], size: int, stretch: float) -> np.ndarray:
    """Soft round spots (x, y, radius, brightness), float32 (size, size), drawn small and enlarged: they are blurred."""
    small = 48
    y, x = np.mgrid[:small, :small].astype(np.float32) / small
    light = np.zeros((small, small), np.float32)
    for cx, cy, radius, brightness in blobs:
        distance = ((x - cx) / (radius * stretch)) ** 2 + ((y - cy) / radius) ** 2
        light += np.float32(brightness) / (1 + distance**4)
    return np.asarray(Image.fromarray(light).resize((size, size), Image.Resampling.BICUBIC))
