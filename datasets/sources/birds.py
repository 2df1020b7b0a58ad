"""The drawn birds: a deterministic stand-in for CUB-200-2011 with known attributes.

Two hundred species, each with its own colours, beak and size, are drawn in changing poses and surroundings and
captioned ten times in the manner of CUB's annotators. The files have CUB's layout, so `sources.cub` reads both:

    DEST/CUB_200_2011/images.txt, image_class_labels.txt, classes.txt, bounding_boxes.txt, images/<class>/<name>.jpg
    DEST/text/<class>/<name>.txt                       ten captions, one a line
    DEST/trainvalclasses.txt, DEST/testclasses.txt     the split by disjoint classes (150 and 50)

No pair of body and wing colour of a test species occurs in training, so a model that names colours right there has
composed them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import cos, pi, sin
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from datasets.sources import cub
from datasets.sources.options import PackOptions
from datasets.sources.pairs_of_colours import species_by_pairs
from datasets.sources.records import Reader, Source, SourceError, readers
from datasets.storage.progress import progress_bar

__all__ = [
    "BODY_REGION",
    "COLOURS",
    "NAME",
    "Species",
    "body_colour",
    "captions",
    "draw",
    "make_species",
    "write",
]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (204, 41, 41),
    "orange": (242, 138, 28),
    "yellow": (246, 219, 56),
    "green": (58, 148, 66),
    "blue": (46, 92, 204),
    "purple": (128, 56, 158),
    "brown": (122, 78, 44),
    "black": (28, 28, 30),
    "white": (244, 244, 242),
    "gray": (140, 140, 144),
}

# Left, top, right, bottom as fractions of the packed image: the middle of the body in every pose, facing either way.
BODY_REGION = (0.42, 0.50, 0.58, 0.60)

BACKGROUNDS = {
    "sky": ((176, 208, 232), (222, 234, 242)),
    "forest": ((128, 158, 118), (178, 196, 150)),
    "sand": ((226, 208, 172), (204, 184, 146)),
    "water": ((146, 186, 196), (104, 150, 168)),
}
POSES = ("perched", "standing", "flying")
NAME = "drawn birds"
CANVAS = 192  # pixels a side
TRAIN_SPECIES, TEST_SPECIES = 150, 50


@dataclass(frozen=True)
class Species:
    """The attributes all birds of one class share; colours are keys of `COLOURS`."""

    body: str
    wing: str
    breast: str
    crown: str
    beak: str
    beak_length: str  # short, medium, long
    size: str  # small, large

    @property
    def name(self) -> str:
        return f"{self.size}_{self.body}_{self.wing}_winged_{self.crown}_crowned_{self.breast}_breasted".title()


def make_species(seed: int = 0) -> tuple[list[Species], list[Species]]:
    """The species of training and of test; their (body, wing) pairs are disjoint."""
    rng = np.random.default_rng([seed, 1])
    return species_by_pairs(rng, COLOURS, TRAIN_SPECIES, TEST_SPECIES, lambda body, wing: _species(body, wing, rng))


def _species(body: str, wing: str, rng: np.random.Generator) -> Species:
    # Half the species have a breast of the body's colour and a crown of the wing's, as many real birds do.
    breast = str(rng.choice(list(COLOURS))) if rng.random() < 0.5 else body
    crown = str(rng.choice(list(COLOURS))) if rng.random() < 0.5 else wing
    beak = str(rng.choice(["orange", "yellow", "black", "gray", "red"]))
    length, size = str(rng.choice(["short", "medium", "long"])), str(rng.choice(["small", "large"]))
    return Species(body, wing, breast, crown, beak, length, size)


def captions(species: Species, rng: np.random.Generator, count: int = 10) -> list[str]:
    """`count` different sentences about the species; each names the body's colour and some other attributes."""
    s = species
    result: list[str] = []
    beak_words = {"short": "very short", "medium": "medium sized", "long": "long pointed"}[s.beak_length]
    size_word = str(rng.choice(["small", "tiny", "little"] if s.size == "small" else ["large", "big"]))
    details = {
        "wing": [f"{s.wing} wings", f"{s.wing} wings and tail"],
        "breast": [f"a {s.breast} breast", f"a {s.breast} belly"],
        "crown": [f"a {s.crown} crown", f"a {s.crown} head"],
        "beak": [f"a {beak_words} beak", f"a {s.beak} beak", f"a {beak_words} {s.beak} bill"],
    }
    openings = [
        f"this bird is {s.body} with",
        f"this {size_word} bird is mostly {s.body} with",
        f"a {size_word} {s.body} bird with",
        f"this bird has a {s.body} body with",
        f"the bird is {s.body} and it has",
        f"a {s.body} bodied bird that has",
    ]
    while len(result) < count:
        first, second = (str(rng.choice(details[str(part)])) for part in rng.choice(list(details), 2, replace=False))
        joint = str(rng.choice([" and ", " and has ", ", "]))
        caption = f"{rng.choice(openings)} {first}" + (f"{joint}{second}" if rng.random() < 0.85 else "")
        caption = caption.replace("a orange", "an orange")
        if caption not in result:
            result.append(caption)
    return result


_BODY = re.compile(
    rf"\b(?:bird is (?:mostly )?|has an? |^an? (?:\w+ )?)({'|'.join(COLOURS)})(?= with| and it has| body| bodied| bird)"
)


def body_colour(caption: str) -> str | None:
    """The colour word that a drawn birds' caption gives to the body; None if it names none."""
    match = _BODY.search(caption)
    return match.group(1) if match else None


@dataclass
class _Canvas:
    """Drawing in the bird's own frame: x forward, y down, units of half the bird's length."""

    draw: ImageDraw.ImageDraw
    mask: ImageDraw.ImageDraw
    centre: tuple[float, float]
    scale: float
    tilt: float
    facing: int  # 1 right, -1 left

    def polygon(self, points: list[tuple[float, float]], colour: tuple[int, int, int], part: bool = True) -> None:
        c, s = cos(self.tilt), sin(self.tilt)
        pixels = [
            (
                self.centre[0] + self.facing * self.scale * (x * c + y * s),
                self.centre[1] + self.scale * (-x * s + y * c),
            )
            for x, y in points
        ]
        self.draw.polygon(pixels, fill=colour)
        if part:
            self.mask.polygon(pixels, fill=255)

    def ellipse(self, x: float, y: float, a: float, b: float, angle: float, colour: tuple[int, int, int]) -> None:
        turns = (2 * pi * i / 40 for i in range(40))
        ca, sa = cos(angle), sin(angle)
        ring = [(a * cos(t), b * sin(t)) for t in turns]
        self.polygon([(x + p * ca + q * sa, y - p * sa + q * ca) for p, q in ring], colour)


def draw(species: Species, rng: np.random.Generator) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """One picture (192×192 RGB) of the species and the bird's bounding box (x, y, width, height) in pixels."""
    side = 2 * CANVAS  # drawn at twice the size and averaged down, for smooth edges
    pose = str(rng.choice(POSES))
    image, mask = _background(rng, side), Image.new("L", (side, side))
    length = side * (0.27 if species.size == "small" else 0.31) * rng.uniform(0.95, 1.05)
    bird = _Canvas(
        draw=ImageDraw.Draw(image),
        mask=ImageDraw.Draw(mask),
        centre=(side * rng.uniform(0.48, 0.52), side * rng.uniform(0.48, 0.52)),
        scale=length,
        tilt=rng.uniform(-0.12, 0.12) + (0.12 if pose == "flying" else 0.0),
        facing=int(rng.choice([-1, 1])),
    )
    _surroundings(bird, pose, rng)
    _bird(bird, species, pose, rng)
    left, top, right, bottom = mask.getbbox() or (0, 0, side, side)
    picture = image.reduce(2)
    grain = rng.normal(0, 3, (CANVAS, CANVAS, 1))
    picture = Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))
    return picture, (left // 2, top // 2, (right - left) // 2, (bottom - top) // 2)


def _background(rng: np.random.Generator, side: int) -> Image.Image:
    top, bottom = BACKGROUNDS[str(rng.choice(list(BACKGROUNDS)))]
    rows = np.linspace(0, 1, side)[:, None, None]
    shade = (1 - rows) * np.array(top) + rows * np.array(bottom) + rng.uniform(-12, 12)
    image = Image.fromarray(np.broadcast_to(shade, (side, side, 3)).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 7))):
        x, y, radius = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0.05, 0.2) * side
        tone = tuple(int(v) for v in (np.array(top) + rng.uniform(-18, 18)).clip(0, 255))
        pen.ellipse((x - radius, y - radius * 0.6, x + radius, y + radius * 0.6), fill=tone)
    return image


def _surroundings(bird: _Canvas, pose: str, rng: np.random.Generator) -> None:
    if pose == "perched":
        slope = rng.uniform(-0.1, 0.1)
        bark = (96 + int(rng.integers(-12, 12)), 74, 52)
        bird.polygon([(-4, 0.70 + slope), (4, 0.70 - slope), (4, 0.80 - slope), (-4, 0.82 + slope)], bark, part=False)
    elif pose == "standing":
        ground = (150 + int(rng.integers(-15, 15)), 136, 108)
        bird.polygon([(-4, 0.76), (4, 0.76), (4, 4), (-4, 4)], ground, part=False)


def _bird(bird: _Canvas, species: Species, pose: str, rng: np.random.Generator) -> None:
    def tint(name: str) -> tuple[int, int, int]:
        r, g, b = (np.array(COLOURS[name]) + rng.uniform(-10, 10, 3)).clip(0, 255).astype(int)
        return int(r), int(g), int(b)

    body, wing, breast = tint(species.body), tint(species.wing), tint(species.breast)
    crown, beak, dark = tint(species.crown), tint(species.beak), (22, 20, 20)
    if pose != "flying":
        for x in (-0.06, 0.12):
            bird.polygon([(x, 0.5), (x + 0.04, 0.5), (x + 0.05, 0.76), (x + 0.01, 0.76)], (92, 70, 50))
    bird.polygon([(-0.5, 0.0), (-1.0, 0.06), (-1.02, 0.26), (-0.46, 0.28)], wing)  # tail
    if pose == "flying":
        bird.polygon([(-0.12, -0.1), (-0.28, -0.68), (-0.78, -0.5), (-0.56, 0.0)], wing)  # raised wing
    bird.ellipse(0.0, 0.12, 0.66, 0.46, 0.12, body)
    bird.ellipse(0.52, 0.22, 0.16, 0.24, -0.25, breast)
    bird.ellipse(0.56, -0.30, 0.25, 0.24, 0.0, body)  # head
    cap = [(0.56 + 0.25 * cos(t), -0.30 - 0.25 * sin(t)) for t in np.linspace(0.1 * pi, 1.05 * pi, 16)]
    bird.polygon(cap, crown)
    reach = {"short": 0.14, "medium": 0.22, "long": 0.36}[species.beak_length]
    bird.polygon([(0.77, -0.37), (0.78 + reach, -0.26), (0.77, -0.19)], beak)
    bird.ellipse(0.65, -0.31, 0.04, 0.04, 0.0, dark)
    if pose != "flying":
        bird.ellipse(-0.46, 0.06, 0.28, 0.20, 0.3, wing)  # folded wing


def ensure(dest: Path) -> None:
    """Draw the birds under `dest` unless a complete set is there already."""
    done = dest / ".complete"
    if not done.exists():
        write(dest)
        done.touch()


def write(dest: Path, seed: int = 0, images_per_species: int = 12) -> None:
    """Draw all species under `dest` in CUB's layout, with a progress bar. The same seed writes the same bytes."""
    train, test = make_species(seed)
    root = dest / "CUB_200_2011"
    tables: dict[str, list[str]] = {"images": [], "image_class_labels": [], "bounding_boxes": [], "classes": []}
    split: dict[str, list[str]] = {"trainvalclasses": [], "testclasses": []}
    number = 0
    everyone = progress_bar([*train, *test], desc="draw birds", unit="species")
    for class_id, species in enumerate(everyone, start=1):
        folder = f"{class_id:03d}.{species.name}"
        tables["classes"].append(f"{class_id} {folder}")
        split["trainvalclasses" if class_id <= len(train) else "testclasses"].append(folder)
        (root / "images" / folder).mkdir(parents=True, exist_ok=True)
        (dest / "text" / folder).mkdir(parents=True, exist_ok=True)
        for i in range(images_per_species):
            number += 1
            rng = np.random.default_rng([seed, 2, class_id, i])
            name = f"{species.name}_{i:04d}"
            picture, box = draw(species, rng)
            picture.save(root / "images" / folder / f"{name}.jpg", quality=92)
            texts = "\n".join(captions(species, rng)) + "\n"
            (dest / "text" / folder / f"{name}.txt").write_text(texts, encoding="utf-8")
            tables["images"].append(f"{number} {folder}/{name}.jpg")
            tables["image_class_labels"].append(f"{number} {class_id}")
            tables["bounding_boxes"].append(f"{number} " + " ".join(f"{v:.1f}" for v in box))
    for table, lines in tables.items():
        (root / f"{table}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for table, lines in split.items():
        (dest / f"{table}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _read(source: Path, options: PackOptions) -> Source:
    """Draw them first where they are not there yet."""
    if source == Path("-").absolute():  # as `place` has made it
        raise SourceError("-: expected a folder: birds are drawn into SOURCE, as files of CUB's layout")
    try:
        ensure(source)
    except OSError as error:
        raise SourceError(f"{source}: the birds cannot be drawn there: {error}") from error
    return cub.read(source, NAME)


readers.register("birds", Reader(_read, resolution=64))
