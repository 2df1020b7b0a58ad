from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.manifest import Manifest, load_manifest
from datasets.packing.pack import PackOptions, pack
from datasets.sources import birds, cub
from dmgan.architectures import build_generator
from dmgan.config import load_config
from dmgan.model.build import build_encoders
from dmgan.runs.run import Run

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest first, so that the processes of `make test` end together; what needs a GPU where one
    is."""
    several = {item.path for item in items if item.get_closest_marker("distributed")}
    longest = {item.path for item in items if item.path.parent.name in ("end_to_end", "tune")}
    items.sort(key=lambda item: (item.path not in longest, item.path not in several))
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no GPU"))


def write_small_cub(root: Path, train: int = 3, test: int = 2, images: int = 5) -> None:
    """A few drawn species in CUB's layout."""
    everyone, unseen = birds.make_species()
    chosen = [*everyone[:train], *unseen[:test]]
    tables: dict[str, list[str]] = {"images": [], "bounding_boxes": []}
    folders = [f"{i:03d}.{species.name}" for i, species in enumerate(chosen, start=1)]
    for folder, species in zip(folders, chosen, strict=True):
        (root / "CUB_200_2011" / "images" / folder).mkdir(parents=True)
        (root / "text" / folder).mkdir(parents=True)
        for i in range(images):
            rng = np.random.default_rng([7, len(tables["images"])])
            picture, box = birds.draw(species, rng)
            number, name = len(tables["images"]) + 1, f"{species.name}_{i}"
            picture.save(root / "CUB_200_2011" / "images" / folder / f"{name}.jpg")
            (root / "text" / folder / f"{name}.txt").write_text("\n".join(birds.captions(species, rng)))
            tables["images"].append(f"{number} {folder}/{name}.jpg")
            tables["bounding_boxes"].append(f"{number} " + " ".join(str(v) for v in box))
    for name, lines in tables.items():
        (root / "CUB_200_2011" / f"{name}.txt").write_text("\n".join(lines))
    (root / "trainvalclasses.txt").write_text("\n".join(folders[:train]))
    (root / "testclasses.txt").write_text("\n".join(folders[train:]))


@pytest.fixture(scope="session")
def cub_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cub")
    write_small_cub(root, train=8, test=6, images=5)
    return root


@pytest.fixture(scope="session")
def packed(cub_source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Manifest]:
    """40 training and 30 test images of 64 pixels in shards of 7."""
    url = str(tmp_path_factory.mktemp("packed"))
    options = PackOptions(resolution=64, shard_samples=7, processes=1)
    return url, pack(cub.read(cub_source, birds.NAME), url, options, progress=False)


@pytest.fixture(scope="session")
def untrained(packed: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    """A run with random weights, and the settings it is of."""
    torch.manual_seed(0)
    run = Run(str(tmp_path_factory.mktemp("runs") / "untrained"))
    sizes = {"word_dim": 16, "image_dim": 4, "memory_dim": 8, "condition_dim": 8, "noise_dim": 8}
    settings = [f"model.{key}={value}" for key, value in sizes.items()]
    settings += ["evaluate.images=40", "evaluate.folds=4", f"data.url={packed[0]}", "data.draw_birds=true"]
    config = load_config(None, settings)
    vocabulary = load_manifest(packed[0])[1]
    run.save_encoders(build_encoders(config.model, len(vocabulary)), vocabulary)
    run.save_generator(build_generator(config.model), config, step=3, steps=3)
    run.write_config(config)
    return run, settings
