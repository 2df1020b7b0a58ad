from __future__ import annotations

from pathlib import Path

from PIL import Image

from cluster.driver.preflight import dataset_problems
from datasets.packing.command import read_source
from datasets.packing.pack import PackOptions, pack
from dmgan.config import load_config


def packed_with(test_images: int, folder: Path) -> str:
    """A dataset of as many test images, of a class and a caption each."""
    source = folder / f"source-{test_images}"
    source.mkdir()
    lines = ["image,caption,split"]
    for number in range(4 + test_images):
        Image.new("RGB", (32, 32), (20 * number, 0, 0)).save(source / f"{number}.png")
        lines.append(f"{number}.png,picture {number},{'train' if number < 4 else 'test'}")
    (source / "captions.csv").write_text("\n".join(lines))
    url, options = str(folder / f"packed-{test_images}"), PackOptions(resolution=16, processes=1)
    pack(read_source("folder", str(source), options), url, options, progress=False)
    return url


def test_as_many_distractors_as_there_are_will_do_but_not_none(tmp_path: Path) -> None:
    def problems(url: str, *settings: str) -> list[str]:
        sizes = ["model.base_size=8", "model.refinements=1"]
        config = load_config("small", [f"data.url={url}", *sizes, *settings])
        return [str(problem) for problem in dataset_problems(config, {"evaluate"})]

    three, one = packed_with(3, tmp_path), packed_with(1, tmp_path)
    assert problems(three) == []  # two captions of other classes for each, in place of 99
    assert problems(three, "evaluate.distractors=2") == []
    (asked,) = problems(three, "evaluate.distractors=3")
    assert asked.startswith(f"evaluate.distractors=3: {three} has only 2 test captions of other classes")
    (none,) = problems(one)
    assert none.startswith(f"evaluate.enabled=true: {one} has for some test images no test caption of another class")
