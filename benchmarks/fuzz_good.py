"""Good files of every kind that the product reads, for benchmarks.fuzz to change."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cluster.worker.position import Position
from cluster.worker.state import CheckpointState, SavedFile
from datasets import storage
from datasets.manifest import load_manifest
from datasets.packing.pack import PackOptions, pack
from datasets.plan import Leg
from datasets.sources import folder
from dmgan.architectures import build_generator
from dmgan.config import load_config
from dmgan.model.build import build_encoders
from dmgan.runs.run import Run
from tests.small import SMALL
from tune.results import Trial
from tune.state import SweepState

__all__ = ["make_good"]


def make_good(root: Path) -> None:
    """Good files of every kind below `root`."""
    _make_datasets(root)
    _make_runs(root)
    _make_others(root)


def _make_datasets(root: Path) -> None:
    pictures = root / "source"
    pictures.mkdir(parents=True)
    rows = []
    for i in range(8):
        Image.new("RGB", (24, 24), (30 * i, 90, 40)).save(pictures / f"{i}.png")
        split = "test" if i < 3 else "train"
        rows.append(
            {"image": f"{i}.png", "captions": [f"a bird, number {i}", "une tête"], "split": split, "class": f"c{i % 4}"}
        )
    (pictures / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pack(folder.read(pictures), str(root / "data"), PackOptions(resolution=16, processes=1), progress=False)
    table = "image,caption,split\n" + "".join(f'{i}.png,"a bird, number {i}",train\n' for i in range(8))
    (root / "table").mkdir()
    (root / "table" / "captions.csv").write_text(table, encoding="utf-8")
    (root / "coco" / "annotations").mkdir(parents=True)
    for part in ("train2014", "val2014"):
        tree = {
            "images": [{"id": i, "file_name": f"{part}_{i}.jpg"} for i in range(4)],
            "annotations": [{"image_id": i % 4, "caption": f"a thing {i}"} for i in range(8)],
        }
        (root / "coco" / "annotations" / f"captions_{part}.json").write_text(json.dumps(tree), encoding="utf-8")


def _make_runs(root: Path) -> None:
    config = load_config(None, [*SMALL, f"data.url={root / 'data'}", "model.image_encoder=compact"])
    run = Run(str(root / "run"))
    vocabulary = load_manifest(str(root / "data"))[1]
    torch.manual_seed(0)
    run.save_encoders(build_encoders(config.model, len(vocabulary)), vocabulary)
    run.save_generator(build_generator(config.model), config, step=4, steps=8)
    run.write_config(config)
    line = {"stage": "train", "step": 4, "epoch": 0.5, "images": 32, "images_per_second": 3.0, "losses": {"g": 1.0}}
    storage.write_bytes(run.path("metrics.jsonl"), (json.dumps(line) + "\n").encode() * 3)
    position = Position(2, 4, 40, step=4, images=32, batches=4, legs=(Leg(1, 4, 2),))
    files = {"generator.safetensors": SavedFile(sha256="0" * 64, size=3)}
    state = CheckpointState(
        stage="train", position=position, seed=0, config=config.model_dump(mode="json"), files=files
    )
    storage.write_bytes(run.path("checkpoints", state.folder, "state.json"), state.to_bytes())
    run.write_json("evaluation.json", _evaluation())
    sweep = Run(str(root / "sweep"))
    space: dict[str, dict[str, list[object]]] = {"objective.lambda_damsm": {"loguniform": [0.1, 100.0]}}
    SweepState(space=space, trials=3, objective="fid", started=0.0, captions=["a bird"]).save(sweep)
    Trial(id="001", planned={"objective.lambda_damsm": 2.0}, values={"objective.lambda_damsm": 2.0}).save(sweep)


def _make_others(root: Path) -> None:
    (root / "space.yaml").write_text(
        "objective.lambda_damsm: {loguniform: [0.1, 100]}\nmodel.memory_dim: {choice: [6, 8]}\n"
    )
    (root / "config.yaml").write_text(
        "preset: cub\ntrain:\n  batch_size: 4\n  max_steps: 10\ndata:\n  url: /data/cub\n"
    )
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 6))
    np.savez(root / "real.npz", mu=features.mean(0), sigma=np.cov(features.T))
    torch.save({"a.weight": torch.ones(3, 4), "b": torch.zeros(2)}, root / "weights.pth")
    (root / "names.pickle").write_bytes(pickle.dumps([["a", "b"], [1, 2], {0: "<end>", 1: "bird"}], protocol=2))
    ramp = (np.linspace(0, 1, 16)[None] * np.ones((16, 1)) * 65535).astype(np.uint16)
    Image.fromarray(ramp).save(root / "deep.png")
    (root / "arguments").write_text("evaluate --name mine --storage runs --set train.seed=3 --set data.url=s3://b/x")


def _evaluation() -> dict[str, object]:
    match = [{"image": 0, "caption": "a bird", "score": 0.5}]
    return {
        "fid": 3.0,
        "r_precision": {"mean": 0.5, "std": 0.1},
        "images": 40,
        "features": "damsm",
        "step": 4,
        "weights": "ema",
        "generator_sha256": "0" * 64,
        "checksum": "0" * 64,
        "data": "/data",
        "best": match,
        "worst": match,
        "r_precision_by_class": [{"class_name": "c", "images": 3, "r_precision": 0.5}],
        "protocol": {"name": "quick", "images": 40},
        "seconds": 1.0,
    }
