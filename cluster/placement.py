"""Where on a Ray cluster things run: on GPUs or CPUs, on this node or another."""

from __future__ import annotations

import os
from typing import Any

from dmgan.config import Config

__all__ = ["on_node", "on_our_own", "uses_gpus"]


def on_our_own() -> bool:
    """Whether this process starts a Ray cluster of its own: RAY_ADDRESS names none."""
    return not os.environ.get("RAY_ADDRESS")


def uses_gpus(config: Config) -> bool:
    """Whether workers get a GPU each: as `train.accelerator` says, else where the cluster has any."""
    import ray

    if config.train.accelerator == "auto":
        return bool(ray.cluster_resources().get("GPU", 0))
    return config.train.accelerator == "gpu"


def on_node(node_id: str | None = None) -> Any:
    """To be scheduled on this node, or the one given, and on no other."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node_id or ray.get_runtime_context().get_node_id(), soft=False)
