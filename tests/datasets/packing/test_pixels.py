"""Every mode's own range, and transparency over a background."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from datasets.packing.pixels import to_rgb

RAMP = np.linspace(0, 1, 64)[None, :] * np.ones((16, 1))


def opened(image: Image.Image, kind: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def grey(image: Image.Image, background: str = "white") -> np.ndarray:
    return np.asarray(to_rgb(image, background)).astype(float).mean(2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_by_their_range(kind: str) -> None:
    deep = Image.fromarray((RAMP * 65535).astype(np.uint16))
    assert np.abs(grey(opened(deep, kind)) - RAMP * 255).max() <= 1


@pytest.mark.parametrize("values", [(RAMP * 1e6).astype(np.int32), RAMP.astype(np.float32)])
def test_pixels_without_a_known_white_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="which value is white is not known"):
        to_rgb(opened(Image.fromarray(values), "TIFF"))


def half(mode: str) -> Image.Image:
    """The left half opaque black, the right half transparent, with a colour hidden below."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:, 0] = 200
    pixels[:, :4, 3] = 255
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(("mode", "kind"), [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP"), ("PA", "TIFF")])
@pytest.mark.parametrize(("background", "value"), [("white", 255), ("#ff0000", 85)])
def test_transparent_pixels_show_the_background(mode: str, kind: str, background: str, value: float) -> None:
    image = half(mode) if mode == "PA" else opened(half(mode), kind, **({"lossless": True} if kind == "WEBP" else {}))
    found = grey(image, background)
    assert found[:, :4].max() <= 2 and np.abs(found[:, 4:] - value).max() <= 2


@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (Image.new("P", (4, 4), 1), "PNG", {"transparency": 1}),
        (Image.new("P", (4, 4), 1), "GIF", {"transparency": 1}),
        (Image.new("L", (4, 4), 7), "PNG", {"transparency": 7}),
        (Image.new("RGB", (4, 4), (7, 8, 9)), "PNG", {"transparency": (7, 8, 9)}),
        (Image.fromarray(np.full((4, 4), 700, np.uint16)), "PNG", {"transparency": 700}),
    ],
    ids=["palette PNG", "GIF", "grey", "RGB", "16 bits"],
)
def test_a_transparent_colour_shows_the_background(image: Image.Image, kind: str, options: dict[str, object]) -> None:
    if image.mode == "P":
        image.putpalette([0, 0, 0, 90, 90, 90])
    assert grey(opened(image, kind, **options)).min() == 255


def test_a_photograph_is_left_as_it_is() -> None:
    image = opened(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG")
    assert to_rgb(image) is image
