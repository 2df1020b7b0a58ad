"""The pictures of fixed captions, which say in themselves what is where."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dmgan.runs.samples import caption_grid, read_grid


def flat(value: int, size: int = 16) -> np.ndarray:
    return np.full((size, size, 3), value, np.uint8)


@pytest.mark.parametrize("columns", [(), ("first", "second")])
@pytest.mark.parametrize("size", [16, 200])
def test_a_grid_gives_back_its_captions_and_last_images(columns: tuple[str, ...], size: int) -> None:
    captions = ["a red bird", "ein Vogel, größer als <b>das</b>"]
    rows = [[flat(10), flat(50, size)], [flat(20), flat(90, size)]]
    found, images = read_grid(caption_grid(captions, rows, columns=columns))
    assert found == captions
    assert [image.size for image in images] == [(max(128, size),) * 2] * 2
    assert [set(np.asarray(image).ravel().tolist()) for image in images] == [{50}, {90}]


def test_another_picture_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (400, 400)).save(buffer, "PNG")
    for content in (buffer.getvalue(), b"", b"no picture", caption_grid(["a"], [[flat(1)]])[:200]):
        with pytest.raises(ValueError, match="not a picture of captions and their images"):
            read_grid(content)
