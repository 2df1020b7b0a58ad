"""The protocol of an evaluation: everything its scores depend on besides the generator's weights, as data.

`paper` is Section 4's: 30,000 images from unseen captions, R-precision with R = 1 against 99 mismatching captions in
ten folds, IS in ten splits, FID against the test images, 256 pixels, Inception-v3.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from datasets import storage
from dmgan import __version__
from dmgan.config import Config, Evaluate, keys_with
from dmgan.evaluation.features import DAMSM, OWN_WEIGHTS
from dmgan.evaluation.metrics import Metric, Numbers, Settings, metrics

__all__ = [
    "PROTOCOLS",
    "SPLIT",
    "Numbers",
    "checksum",
    "departures",
    "describe",
    "differences",
    "fewer_distractors",
    "protocol_numbers",
    "settings",
    "wanted_metrics",
]

SPLIT = "test"


PROTOCOLS = {"paper": Numbers(30000, 99, 10, 10), "quick": Numbers(1000, 99, 10, 10)}


def protocol_numbers(options: Evaluate, distractors: int | None = None) -> Numbers:
    """Those that are set, and the rest of the protocol named.

    With the number of `distractors` that the test split has, no more of them than that, unless the key is set.
    """
    named = asdict(PROTOCOLS[options.protocol])
    if distractors is not None:
        named["distractors"] = min(named["distractors"], distractors)
    return Numbers(**{key: value if (own := getattr(options, key)) is None else own for key, value in named.items()})


def settings(config: Config, dataset: str, distractors: int | None = None) -> Settings:
    """What metrics depend on: a configuration, the dataset's name and the `distractors` that its test split has."""
    return Settings(config.evaluate, protocol_numbers(config.evaluate, distractors), dataset)


def wanted_metrics(chosen: Settings) -> dict[str, Metric]:
    """The registered metrics that an evaluation with these settings has, by name."""
    return {name: metrics.get(name) for name in metrics.names() if metrics.get(name).wanted(chosen)}


def checksum(
    config: Config, encoders_sha256: str, generator_sha256: str, judges_sha256: Mapping[str, str | None] | None = None
) -> str:
    """The same for evaluations that must give the same scores: of all that those depend on.

    That is every key whose role is `scores` and the contents of the files they name, the dataset, both networks, the
    weights of other judges, and which metrics there are.
    """
    keys = [key for key in keys_with("scores") if key != "evaluate.protocol"]  # which decides the numbers alone
    files = [str(config.value(key)) for key in keys if key in keys_with("path") and config.value(key)]
    depends = {
        **{key: config.value(key) for key in keys},
        **{f"evaluate.{name}": value for name, value in asdict(protocol_numbers(config.evaluate)).items()},
        "files": [hashlib.sha256(storage.read_bytes(file)).hexdigest() for file in files],
        "data": config.data.url,
        "gamma3": config.objective.gamma3 if config.evaluate.features == DAMSM else None,
        "encoders": encoders_sha256,
        "generator": generator_sha256,
        "judges": dict(judges_sha256 or {}),
        "metrics": metrics.names(),
    }
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


def fewer_distractors(chosen: Settings) -> list[str]:
    """What whoever reads R-precision must know where the test split has fewer distractors than the protocol asks."""
    wanted, there = protocol_numbers(chosen.options).distractors, chosen.numbers.distractors
    if there >= wanted:
        return []
    return [
        f"R-precision is against {there} mismatching captions an image, all that the test split has, not {wanted}: "
        f"chance is {100 / (there + 1):.1f} %, not {100 / (wanted + 1):.1f} %"
    ]


def departures(config: Config, numbers: Numbers | None = None, extractor: dict[str, object] | None = None) -> list[str]:
    """In what an evaluation with these `numbers` differs from the protocol it names.

    `numbers` are by default what the configuration asks for; the extractor counts where it is described.
    """
    options = config.evaluate
    named, own = asdict(PROTOCOLS[options.protocol]), asdict(numbers or protocol_numbers(options))
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
            found.append(f"extractor's weights {str(extractor['weights_sha256'])[:8]}…, not {OWN_WEIGHTS}")
    return found


def describe(
    config: Config,
    chosen: Settings,
    extractor: dict[str, object],
    real: dict[str, object],
    captions_sha256: str,
    encoders_sha256: str,
    judges_sha256: Mapping[str, str | None] | None = None,
) -> dict[str, object]:
    """The whole protocol, as it is written beside the scores."""
    options, own, changed = config.evaluate, chosen.numbers, departures(config, chosen.numbers, extractor)
    of_metrics = [metric.protocol(chosen) for metric in wanted_metrics(chosen).values()]
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
        "dtype": {"networks": "float32", **_image_encoders(options), "sums": "float64"},
        **{name: entry for entries in of_metrics for name, entry in entries.items()},
        "encoders_sha256": encoders_sha256,
        "judges_sha256": dict(judges_sha256 or {}),
        "seed": options.seed,
        "weights": options.weights,
        "code": {"version": __version__},
    }


def _image_encoders(options: Evaluate) -> dict[str, str]:
    """Their own number format, where it is not that of all networks."""
    chosen = options.encoder_precision
    return {} if chosen == "float32" else {"image_encoders": chosen}


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """In what two protocols differ, the code that carried them out aside; scores compare where there is nothing."""
    a, b = dict(_leaves(one)), dict(_leaves(other))
    ignored = ("code.", "name", "departures")
    keys = [key for key in {**a, **b} if not key.startswith(ignored) and a.get(key) != b.get(key)]
    return [f"{key} {_short(a.get(key))} and {_short(b.get(key))}" for key in keys]


def _leaves(tree: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _short(value: object) -> str:
    return value[:8] + "…" if isinstance(value, str) and len(value) == 64 else str(value)
