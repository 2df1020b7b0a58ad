"""From how many GPUs on a step mostly waits for the others, at each ZeRO stage, and what moves that number.

A model, not a measurement: bytes over bandwidth and messages times latency, beside the time of one GPU alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.sizing.footprint import Footprint
from cluster.sizing.link import Link, messages, network_bytes
from dmgan.config import Config, load_config

__all__ = ["LIMIT", "WORKERS", "Job", "first_above", "scaling_report", "waiting"]

WORKERS = tuple(2**i for i in range(10))  # 1 to 512
LIMIT = 0.05  # the share of a step
# Of a step's computing, which reducing gradients can hide behind: the backward passes through the generator and the
# discriminators, by the profile in docs/speed.md.
_BACKWARD = 0.5
# Which keys are tried, one at a time, for what they do to the number.
SWITCHES = (
    "deepspeed.overlap=always",
    "train.batch_statistics=local",
    "objective.negatives=local",
    "train.batch_size=64",
)


@dataclass(frozen=True)
class Job:
    """A step on one GPU alone takes `seconds`; `cost` and `link` say what it sends and how."""

    config: Config
    cost: Footprint
    link: Link
    seconds: float

    def with_switch(self, assignment: str) -> Job:
        """With a key set otherwise; a larger batch computes as much longer."""
        config = load_config(self.config, [assignment])
        longer = config.train.images_a_step / self.config.train.images_a_step
        return Job(config, self.cost, self.link, self.seconds * longer)


def waiting(job: Job, zero_stage: int, workers: int, overlap: bool) -> float:
    """Seconds of a step in which a GPU waits for the others.

    With `overlap` gradients are reduced, and at ZeRO 3 weights gathered, while the backward passes compute, for as long
    as these take. What follows a network's update does not overlap, nor do small messages, nor
    anything at ZeRO 0, where DeepSpeed reduces after the backward pass.
    """
    sent = network_bytes(job.cost, zero_stage, workers)
    in_all = job.link.seconds(sent, messages(job.config, job.cost), workers)
    if not overlap or workers == 1 or zero_stage == 0:
        return in_all
    gradients = 2 * 4.0 * (job.cost.generator + job.cost.discriminators) * (workers - 1) / workers
    hideable = sent - 4.0 * job.cost.generator * (workers - 1) / workers if zero_stage == 3 else gradients
    return in_all - min(job.link.seconds(hideable, 0, workers), _BACKWARD * job.seconds)


def first_above(job: Job, zero_stage: int, overlap: bool) -> int | None:
    """The smallest of `WORKERS` with which more than `LIMIT` of a step is waiting, if any is."""
    for workers in WORKERS:
        waited = waiting(job, zero_stage, workers, overlap)
        if waited > LIMIT * (job.seconds + waited):
            return workers
    return None


def scaling_report(job: Job) -> Iterator[str]:
    """Lines of Markdown: the share of a step that is waiting, and from how many GPUs on it is above the limit."""
    yield "| GPUs | " + " | ".join(f"ZeRO {stage}, overlapped" for stage in range(4)) + " |"
    yield "|---" * 5 + "|"
    for workers in WORKERS:
        yield f"| {workers} | " + " | ".join(_pair(job, stage, workers) for stage in range(4)) + " |"
    yield ""
    for stage in range(4):
        alone, overlapped = (_from(first_above(job, stage, overlap)) for overlap in (False, True))
        yield f"ZeRO {stage}: waiting is more than {LIMIT:.0%} of a step {alone}; overlapped {overlapped}."
        for line in _switches(job, stage, SWITCHES):
            yield f"- {line}"
        yield ""


def _pair(job: Job, stage: int, workers: int) -> str:
    waited = (waiting(job, stage, workers, overlap) for overlap in (False, True))
    return ", ".join(f"{100 * seconds / (job.seconds + seconds):.1f} %" for seconds in waited)


def _switches(job: Job, stage: int, switches: Sequence[str]) -> Iterator[str]:
    """What each switch alone makes of the number, where it changes it."""
    before = first_above(job, stage, job.config.deepspeed.overlap == "always")
    for switch in switches:
        changed = job.with_switch(switch)
        after = first_above(changed, stage, changed.config.deepspeed.overlap == "always")
        if after != before:
            yield f"{switch}: {_from(after)}"


def _from(workers: int | None) -> str:
    return f"from {workers} GPUs on" if workers else f"nowhere up to {WORKERS[-1]} GPUs"
