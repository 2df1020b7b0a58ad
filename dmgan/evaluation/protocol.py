"""The protocol of an evaluation: everything its scores depend on besides the generator's weights, as data.

`paper` is Section 4's: 30,000 images from unseen captions, R-precision with R = 1 against 99 mismatching captions in
ten folds, IS in ten splits, FID against the test images, 256 pixels, Inception-v3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dmgan import __version__
from dmgan.config import Config, Evaluate
from dmgan.evaluation.features import OWN_WEIGHTS
from dmgan.evaluation.metrics.gathered import NEIGHBOURS, kid_protocol

__all__ = ["PROTOCOLS", "SPLIT", "Numbers", "departures", "describe", "differences", "numbers", "settings"]

SPLIT = "test"
_NO_SETTINGS = {"enabled", "batch_size"}  # no score depends on them


@dataclass(frozen=True)
class Numbers:
    images: int
    distractors: int
    folds: int  # of R-precision
    splits: int  # of IS


PROTOCOLS = {"paper": Numbers(30000, 99, 10, 10), "quick": Numbers(1000, 99, 10, 10)}


def numbers(options: Evaluate) -> Numbers:
    """Those that are set, and the rest of the protocol named."""
    named = asdict(PROTOCOLS[options.protocol])
    return Numbers(**{key: value if (own := getattr(options, key)) is None else own for key, value in named.items()})


def settings(config: Config) -> dict[str, Any]:
    """What of the configuration the scores depend on: an evaluation with the same need not be repeated."""
    chosen = config.evaluate.model_dump(exclude=_NO_SETTINGS) | asdict(numbers(config.evaluate))
    gamma3 = {"gamma3": config.objective.gamma3} if config.evaluate.features == "damsm" else {}
    return {"data": config.data.url, **chosen, **gamma3}


def departures(config: Config, extractor: dict[str, Any] | None = None) -> list[str]:
    """In what an evaluation differs from the protocol it names, its extractor included where it is described."""
    options = config.evaluate
    named, own = asdict(PROTOCOLS[options.protocol]), asdict(numbers(options))
    found = [f"{key} {own[key]:,}, not {value:,}" for key, value in named.items() if own[key] != value]
    if options.protocol == "paper":
        expected = {
            "features": (options.features, "inception-v3"),
            "pixels": (config.model.image_sizes[-1], 256),
            "weights": (options.weights, "ema"),
            "features_classes": (options.features_classes, 1008),
            "real images": (options.real_statistics or "of the split", "of the split"),
        }
        found += [f"{key} {value}, not {wanted}" for key, (value, wanted) in expected.items() if value != wanted]
        if extractor is not None and extractor.get("weights", OWN_WEIGHTS) != OWN_WEIGHTS:
            found.append(f"extractor's weights {extractor['weights_sha256'][:8]}…, not {OWN_WEIGHTS}")
    return found


def describe(
    config: Config, extractor: dict[str, Any], real: dict[str, Any], captions_sha256: str, encoders_sha256: str
) -> dict[str, Any]:
    """The whole protocol, as it is written beside the scores."""
    options, own, changed = config.evaluate, numbers(config.evaluate), departures(config, extractor)
    return {
        "name": f"{options.protocol}, changed" if changed else options.protocol,
        "departures": changed,
        "images": own.images,
        "captions": {
            "split": SPLIT,
            "order": "drawn by the seed; each caption once before any twice",
            "max_words": options.max_words,
            "sha256": captions_sha256,
        },
        "real": real,
        "pixels": config.model.image_sizes[-1],
        "quantisation": "uint8, rounded to the nearest",
        "extractor": extractor,
        "dtype": {"networks": "float32", "sums": "float64"},
        "inception_score": {"splits": own.splits},
        "kid": kid_protocol() if options.kid else None,
        "precision_recall": {"neighbours": NEIGHBOURS} if options.precision_recall else None,
        "r_precision": {
            "r": 1,
            "distractors": own.distractors,
            "folds": own.folds,
            "encoders_sha256": encoders_sha256,
        },
        "seed": options.seed,
        "weights": options.weights,
        "code": {"version": __version__, "sha256": source_sha256()},
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """In what two protocols differ, the code that carried them out aside; scores compare where there is nothing."""
    a, b = dict(_leaves(one)), dict(_leaves(other))
    ignored = ("code.", "name", "departures")
    keys = [key for key in {**a, **b} if not key.startswith(ignored) and a.get(key) != b.get(key)]
    return [f"{key} {_short(a.get(key))} and {_short(b.get(key))}" for key in keys]


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _short(value: Any) -> str:
    return value[:8] + "…" if isinstance(value, str) and len(value) == 64 else str(value)


@cache
def source_sha256() -> str:
    """Of the code that makes and scores images."""
    found = hashlib.sha256()
    root = Path(__file__).parents[2]
    for path in sorted(path for folder in ("cluster", "datasets", "dmgan") for path in (root / folder).rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
