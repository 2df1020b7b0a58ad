"""Evaluations of runs as they are read, without the images."""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets import storage
from dmgan.config import Config, load_config
from dmgan.evaluation.features import describe_extractor
from dmgan.evaluation.protocol import describe, settings
from dmgan.pixels import png
from dmgan.runs.run import Run


def protocol_of(config: Config, real: dict[str, Any]) -> dict[str, Any]:
    extractor = describe_extractor(config.evaluate, "e" * 64, 10.0)
    return describe(config, settings(config, "birds"), extractor, real, "c" * 64, "e" * 64)


def evaluated(run: Run, step: int, *more: str) -> None:
    """As cluster.evaluation.evaluate writes it, with scores that rise with the step."""
    config = load_config(None, ["data.url=s3://bucket/birds", *more])
    real = {"split": "test", "images": 30, "sha256": "0" * 64}
    rows = [{"image": k, "caption": f"caption <{k}>", "score": 0.9 - k / 10} for k in range(2)]
    result = {
        "fid": 20.0 - step,
        "inception_score": {"mean": 2.0 + step, "std": 0.1},
        "r_precision": {"mean": 0.05 * step, "std": 0.01},
        "kid": {"mean": 0.125, "std": 0.01},
        "images": 1000,
        "features": config.evaluate.features,
        "step": step,
        "weights": config.evaluate.weights,
        "best": rows,
        "worst": rows[::-1],
        "r_precision_by_class": [
            {"class_name": f"class {c:02d}", "images": 3, "r_precision": c / 30} for c in range(25)
        ],
        "generator_sha256": "0" * 64,
        "checksum": "0" * 64,
        "data": config.data.url,
        "protocol": protocol_of(config, real),
        "seconds": 1.5,
    }
    name = f"step_{step:08d}-{config.evaluate.weights}"
    run.write_json(f"evaluations/{name}.json", result)
    storage.write_bytes(run.path("evaluations", f"{name}.png"), png(np.zeros((32, 32, 3), np.uint8)))
    run.write_json("evaluation.json", result)
