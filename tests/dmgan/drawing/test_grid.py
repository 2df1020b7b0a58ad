from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dmgan.drawing.grid import Grid, pages


def test_many_noises_of_a_caption_go_on_below_and_many_lines_on_further_pages() -> None:
    written: dict[str, bytes] = {}
    names = pages(lines=65, pictures=17, columns=(), tiles=1)
    assert names == ["grid-000.png", "grid-001.png", "grid-002.png"]  # 130 rows
    grid = Grid(names, (), 1, written.__setitem__)
    for line in range(65):
        for noise in range(17):
            grid.add(line, "a bird", [np.full((2, 2, 3), noise, np.uint8)])
            assert len(written) == min(2, (line * 2 + noise // 16) // 64)
    grid.close()
    assert list(written) == names
    sizes = [Image.open(io.BytesIO(content)).size for content in written.values()]
    assert sizes == [(210 + 16 * 134, 64 * 134 + 6)] * 2 + [(210 + 16 * 134, 2 * 134 + 6)]
    last = np.asarray(Image.open(io.BytesIO(written["grid-002.png"])))
    assert last[10, 215].tolist() == [0, 0, 0] and last[10 + 134, 215].tolist() == [16, 16, 16]
