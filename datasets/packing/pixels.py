"""From whatever Pillow opens to RGB: every mode's own range, and transparency over a background."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageColor

from datasets.sources.options import PackOptions

__all__ = ["LONGEST", "fitted", "is_strip", "outside_square", "to_rgb"]

LONGEST = 4  # times the shorter side: what `crop` stores of a strip

_DEEP = 65535  # white in 16 bits
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
# Pillow opens 16-bit files of these formats as 32-bit integers.
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM", "JPEG2000")


def to_rgb(image: Image.Image, background: str = "white") -> Image.Image:
    """The image in mode RGB, 0 black and 255 white, composed over a colour (a name or #rrggbb) where it is transparent.

    Raises ValueError for pixels whose range is not known: 32-bit integers and floats have no white of their own.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format in _SIXTEEN_BIT_FORMATS):
        image = _eight_bits(image)
    elif image.mode in ("I", "F"):
        kind = "32-bit integer" if image.mode == "I" else "float"
        raise ValueError(f"{kind} pixels: which value is white is not known; store it with 8 or 16 bits a channel")
    if not image.has_transparency_data:
        return image.convert("RGB")
    drawn = image.convert("RGBA")
    ground = Image.new("RGBA", drawn.size, (*ImageColor.getrgb(background)[:3], 255))
    return Image.alpha_composite(ground, drawn).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as L, or as LA where one value stands for transparency."""
    deep = np.asarray(image).astype(np.int64)
    grey = Image.fromarray(np.clip((deep * 255 + _DEEP // 2) // _DEEP, 0, 255).astype(np.uint8), "L")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = Image.fromarray(np.where(deep == transparent, 0, 255).astype(np.uint8), "L")
        return Image.merge("LA", (grey, alpha))
    return grey


def fitted(image: Image.Image, options: PackOptions) -> Image.Image:
    """The image as it is stored: its shorter side of `options.stored_size` pixels, or a square of them.

    `crop` keeps the proportions, of strips longer than 4:1 the middle (random squares are cut out when it is read);
    `pad` puts all of it on a square of the background; `squash` gives up the proportions.
    """
    stored = options.stored_size
    if options.fit == "squash":
        return image.resize((stored, stored), Image.Resampling.BILINEAR)
    if options.fit == "pad":
        scale = stored / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        square = Image.new("RGB", (stored, stored), ImageColor.getrgb(options.background)[:3])
        inner = image.resize((width, height), Image.Resampling.BILINEAR)
        square.paste(inner, ((stored - width) // 2, (stored - height) // 2))
        return square
    if is_strip(image.size):
        reach = LONGEST * min(image.size)
        left, top = (max(0, (side - reach) // 2) for side in image.size)
        image = image.crop((left, top, min(image.width, left + reach), min(image.height, top + reach)))
    scale = stored / min(image.size)
    size = (max(stored, round(image.width * scale)), max(stored, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR)


def is_strip(size: tuple[int, int]) -> bool:
    """Whether `crop` stores the middle alone."""
    return max(size) > LONGEST * min(size)


def outside_square(size: tuple[int, int]) -> float:
    """The share of an image's pixels outside its middle square."""
    return 1 - min(size) / max(size)
