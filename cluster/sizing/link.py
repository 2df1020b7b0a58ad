"""What GPUs send one another in a step, and how long that takes."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.sizing.footprint import Footprint
from dmgan.config import Config

__all__ = ["ASSUMED", "COUNTED", "GIVEN", "MEASURED", "Link", "Value", "messages", "network_bytes"]

COUNTED, MEASURED, GIVEN, ASSUMED = "counted", "measured", "given", "assumed"


@dataclass(frozen=True)
class Value:
    """A number and where it comes from."""

    number: float
    source: str
    note: str = ""

    @property
    def origin(self) -> str:
        return f"{self.source}: {self.note}" if self.note else self.source


@dataclass(frozen=True)
class Link:
    """How fast GPUs talk, bytes/s and seconds a message: within a node, and between nodes for each of them."""

    within: Value
    between: Value
    latency: Value
    gpus_per_node: int

    def seconds(self, sent: float, messages: int, workers: int) -> float:
        """For a ring over all workers in which each sends so many bytes; each node's own link carries its ring once."""
        if workers == 1:
            return 0.0
        rate = self.within.number if workers <= self.gpus_per_node else self.between.number
        return sent / rate + messages * self.latency.number


def network_bytes(cost: Footprint, zero_stage: int, workers: int) -> float:
    """What each GPU sends in a step: gradients reduced and weights gathered, by rings, float32.

    All-reduce is a reduce-scatter and an all-gather of (W − 1)/W of the bytes each. DeepSpeed all-reduces gradients at
    stages 1 and 2 as well (`use_multi_rank_bucket_allreduce`) and gathers the updated weights after that. At stage 3 it
    reduce-scatters, and gathers weights for every forward and backward pass: two of the generator, four of the
    discriminators, and one of the generator for the average.
    """
    generator, discriminators = 4.0 * cost.generator, 4.0 * cost.discriminators
    both = generator + discriminators
    passes = {0: 2 * both, 1: 3 * both, 2: 3 * both, 3: 4 * generator + 5 * discriminators}[zero_stage]
    return passes * (workers - 1) / workers


def messages(config: Config, cost: Footprint) -> int:
    """Small collective operations of a step: batch statistics forward and backward, DAMSM's negatives."""
    statistics = 2 * cost.normalisations if config.train.batch_statistics == "global" else 0
    return statistics + (6 if config.objective.negatives == "global" else 0) + 4
