"""Whether training is well: nothing non-finite, no discriminator that has won, no generator that draws one image."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping

import torch
from torch import Tensor

from datasets import storage
from datasets.errors import UserError
from dmgan.model import collective
from dmgan.runs.run import Run
from dmgan.training.engine import Engine
from dmgan.training.outcome import Outcome

__all__ = ["Health", "NonFiniteError"]

PINNED_ACCURACY, PINNED_LINES = 0.99, 5  # a discriminator that tells all apart, for as many log lines
COLLAPSED_DIVERSITY, COLLAPSED_LINES = 0.1, 3


class NonFiniteError(UserError):
    """A loss or gradient is not finite; one line that says which was the first and where the dump is."""


class Health:
    """Collects what each step says of itself on the device; looked at only in `check` and `statistics`."""

    def __init__(self, run: Run, stage: str) -> None:
        self._run, self._stage = run, stage
        self._steps: list[tuple[int, Outcome, list[str]]] = []
        self._lines: deque[dict[str, float]] = deque(maxlen=max(PINNED_LINES, COLLAPSED_LINES))

    def add(self, step: int, outcome: Outcome, keys: list[str]) -> None:
        """`step` is over; `keys` were its samples."""
        self._steps.append((step, outcome, keys))

    def check(self, engines: Mapping[str, Engine]) -> None:
        """Every worker calls it, before each checkpoint. Raises NonFiniteError on all if one has anything."""
        if not self._steps:
            return
        flags = torch.stack([torch.stack(list(outcome.finite.values())) for _, outcome, _ in self._steps])
        bad = collective.all_reduce_sum((~flags).float())
        if bad.any():
            row, column = (int(i) for i in bad.nonzero()[0])
            raise NonFiniteError(self._dump(row, list(self._steps[row][1].finite)[column], engines))
        self._steps.clear()

    def statistics(self) -> tuple[dict[str, float], list[str]]:
        """Means over steps and workers since the last call, and warnings. Every worker calls it, before `check`."""
        if not self._steps or not self._steps[0][1].statistics:
            return {}, []
        names = list(self._steps[0][1].statistics)
        rows = torch.stack([torch.stack(list(outcome.statistics.values())) for _, outcome, _ in self._steps])
        means = (collective.all_reduce_sum(rows.mean(0)) / collective.world_size()).tolist()
        line = dict(zip(names, (round(value, 4) for value in means), strict=True))
        self._lines.append(line)
        return line, self._warnings(names)

    def _warnings(self, names: list[str]) -> list[str]:
        def last(name: str, count: int) -> list[float]:
            return [line[name] for line in list(self._lines)[-count:]] if len(self._lines) >= count else []

        found = []
        for name in names:
            values = last(name, PINNED_LINES)
            if name.startswith("accuracy_") and values and min(values) >= PINNED_ACCURACY:
                found.append(f"discriminator {name[9:]} has won: tells {100 * values[-1]:.1f} % of the images apart")
        values = last("diversity", COLLAPSED_LINES) if "diversity" in names else []
        if values and max(values) <= COLLAPSED_DIVERSITY:
            share = f"{100 * values[-1]:.1f} %"
            found.append(f"the generator has collapsed: its images differ {share} as much as real ones do")
        return found

    def _dump(self, row: int, what: str, engines: Mapping[str, Engine]) -> str:
        """Write RUN/dumps/STAGE-STEP/ and say in one line what it is of."""
        step = self._steps[row][0]
        folder = ("dumps", f"{self._stage}-{step:08d}")
        states = {name: engine.state() for name, engine in engines.items()}
        steps = [
            {"step": number, "losses": {k: str(float(v)) for k, v in outcome.losses.items()}, "keys": keys}
            for number, outcome, keys in self._steps
        ]
        if collective.rank() == 0:
            damaged: dict[str, int] = {}
            for name, state in states.items():
                assert state is not None
                damaged |= {f"{name}.{key}": bad for key, tensor in state.weights.items() if (bad := _bad(tensor))}
                storage.write_bytes(self._run.path(*folder, f"{name}.safetensors"), state.to_bytes())
            report = {"first": what, "step": step, "of rank 0": steps, "non-finite weights": damaged}
            storage.write_bytes(self._run.path(*folder, "report.json"), json.dumps(report, indent=1).encode())
        collective.gather_objects(None)  # a worker that fails ends the others, so all wait until it is written
        return f"{self._stage}, step {step}: {what} not finite; see {self._run.path(*folder, 'report.json')}"


def _bad(tensor: Tensor) -> int:
    return int((~tensor.isfinite()).sum()) if tensor.is_floating_point() else 0
