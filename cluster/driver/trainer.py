"""Ray Train's trainer without the helper processes that our jobs have no use for."""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

from cluster.placement import on_our_own

__all__ = ["Trainer"]


class Trainer(TorchTrainer):  # type: ignore[misc]
    """Each of the two left out costs about 2.5 s of a processor at every start of the workers.

    One hands out Ray Datasets: ours are streamed by the workers themselves. The other frees the workers' places in a
    cluster that outlives a killed driver: it stays where the cluster is not our own.
    """

    def _create_default_callbacks(self) -> list[Any]:
        unused: tuple[type, ...] = (DatasetsCallback,)
        if on_our_own():
            unused += (PlacementGroupCleanerCallback,)
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unused)]
