"""Sums of all metrics together: adding parts, keeping them in files, and the scores of the whole."""

from __future__ import annotations

import numpy as np
import safetensors.numpy

from dmgan.evaluation.metrics import Confusion, Settings, Sums, Value
from dmgan.evaluation.protocol import wanted_metrics

__all__ = ["PartSums", "added", "caveats", "ceilings", "confusions", "from_bytes", "scores", "to_bytes"]

PartSums = dict[str, Sums]  # of each metric, by its name


def added(one: PartSums, other: PartSums, settings: Settings) -> PartSums:
    """The sums of two parts that follow one another."""
    chosen = wanted_metrics(settings)
    return {name: chosen[name].add(sums, other[name]) for name, sums in one.items()}


def to_bytes(sums: PartSums) -> bytes:
    """As safetensors, METRIC/NAME, to be kept until the whole is there."""
    arrays = {f"{metric}/{name}": array for metric, named in sums.items() for name, array in named.items()}
    return safetensors.numpy.save({key: np.asarray(array, order="C") for key, array in arrays.items()})


def from_bytes(content: bytes, settings: Settings) -> PartSums:
    """Raises SafetensorError or KeyError where it is not what `to_bytes` gave of such an evaluation."""
    found: PartSums = {name: {} for name in wanted_metrics(settings)}
    for key, array in safetensors.numpy.load(content).items():
        metric, _, name = key.partition("/")
        found[metric][name] = array
    return found


def caveats(generated: PartSums, real: PartSums, settings: Settings) -> list[str]:
    """What whoever reads the scores must know, one line each."""
    chosen = wanted_metrics(settings)
    return [line for name, m in chosen.items() for line in m.caveats(generated[name], real.get(name, {}), settings)]


def ceilings(real: PartSums, settings: Settings) -> dict[str, Value]:
    """What the real images themselves get, from their sums."""
    found: dict[str, Value] = {}
    for name, metric in wanted_metrics(settings).items():
        if real.get(name):
            found |= metric.ceiling(real[name], settings)
    return found


def confusions(generated: PartSums, settings: Settings) -> dict[str, Confusion]:
    """What is taken for what in the generated images, by attribute."""
    chosen = wanted_metrics(settings)
    return {
        label: found for name, m in chosen.items() for label, found in m.confusions(generated[name], settings).items()
    }


def scores(generated: PartSums, real: PartSums, settings: Settings) -> dict[str, Value]:
    """evaluation.json's scores from the whole's sums."""
    found: dict[str, Value] = {}
    for name, metric in wanted_metrics(settings).items():
        found |= metric.result(generated[name], real.get(name, {}), settings)
    return found
