"""The runs and sweeps of a storage: where each stands, what it scored, what it takes. Without torch."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from datasets import storage
from datasets.errors import UserError
from datasets.storage.lease import holder_of
from datasets.storage.usage import usage
from dmgan.config import ConfigError
from dmgan.runs.folder import LEASE, LIVE_REPORT, RunFolder

__all__ = ["Entry", "entries", "existing", "names_of"]

_DEEPEST = 3  # folders of a name such as birds/small/first


@dataclass(frozen=True)
class Entry:
    """A run or a sweep."""

    name: str
    kind: str  # run or sweep
    state: str
    step: int = 0  # of the newest checkpoint or generator; 0 before, and of a sweep
    steps: int | None = None  # planned, as far as it is known
    scores: dict[str, float] = field(default_factory=dict)  # means, by the names of evaluation.json
    size: int = 0  # bytes
    age: float = 0.0  # seconds since something was written

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def entries(url: str) -> Iterator[Entry]:
    """Those in the storage at `url`, by name."""
    for name in names_of(url):
        yield _entry(RunFolder(storage.join(url, name)), name)


def names_of(url: str, outer: str = "", depth: int = 1) -> list[str]:
    """The names of the runs and sweeps in the storage at `url`; those within a sweep are its own."""
    found: list[str] = []
    for folder in storage.list_folders(storage.join(url, outer) if outer else url):
        if folder.startswith("."):
            continue
        name = f"{outer}/{folder}" if outer else folder
        place = RunFolder(storage.join(url, name))
        if place.has("run.yaml") or place.has("sweep.json"):
            found.append(name)
        elif depth < _DEEPEST:
            found += names_of(url, name, depth + 1)
    return found


def existing(url: str, name: str, flag: str = "--name ") -> RunFolder:
    """The run or sweep of this name. Raises ConfigError, which lists the names that are near."""
    run = RunFolder(storage.join(url, name))
    if run.has("run.yaml") or run.has("sweep.json"):
        return run
    there = names_of(url)
    near = difflib.get_close_matches(name, there, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else _listed(there)
    raise ConfigError(f"{flag}{name}: no such run in {url}; {hint}")


def _listed(names: list[str]) -> str:
    if not names:
        return "it has none; `python -m dmgan.launch train` makes one"
    return f"there are: {', '.join(names[:10])}" + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _entry(run: RunFolder, name: str) -> Entry:
    used = usage(run.url)
    age = max(0.0, time.time() - used.written)
    try:
        if run.has("sweep.json"):
            return Entry(name, "sweep", _sweep_state(run), size=used.size, age=age)
        step, steps = _steps(run)
        state = _run_state(run, step, steps)
        return Entry(name, "run", state, step, steps, _scores(run), used.size, age)
    except UserError as error:
        return Entry(name, "run", f"damaged: {error}", size=used.size, age=age)


def _steps(run: RunFolder) -> tuple[int, int | None]:
    """The newest step of the GAN, and the one it was planned to."""
    names = storage.list_folders(run.path("checkpoints"))
    saved = [int(number) for stage, _, number in (n.rpartition("-") for n in names) if stage == "train"]
    record = run.read_generator_record()
    if record is None:
        return max(saved, default=0), run.read_config().train.max_steps
    return max([record.step, *saved]), record.steps or None


def _run_state(run: RunFolder, step: int, steps: int | None) -> str:
    if holder_of(run.path(LEASE)) is not None:
        return "running"
    record = run.read_generator_record()
    if record is not None and record.is_imported:
        return "imported"
    if steps is not None and step >= steps:
        return "complete" if run.has("report.html") and not run.has(LIVE_REPORT) else "trained"
    if step:
        return "stopped"
    return "encoders trained" if run.has("encoders.safetensors") else "begun"


def _sweep_state(run: RunFolder) -> str:
    state = run.read_json("sweep.json")
    trials = storage.list_folders(run.path("trials"))
    if not isinstance(state, dict):
        raise ConfigError(f"{run.path('sweep.json')}: damaged: expected an object")
    running = holder_of(run.path(LEASE)) is not None
    text = "running" if running else str(state.get("state", "begun")).replace("running", "stopped")
    return f"{text}, {len(trials)} of {state.get('trials', '?')} trials"


def _scores(run: RunFolder) -> dict[str, float]:
    """Means by name: numbers of evaluation.json that say how good the images are."""
    if not run.has("evaluation.json"):
        return {}
    found = run.read_json("evaluation.json")
    if not isinstance(found, dict):
        raise ConfigError(f"{run.path('evaluation.json')}: damaged: expected an object")
    scores: dict[str, float] = {}
    for name, value in found.items():
        mean = value.get("mean") if isinstance(value, dict) else value
        if name not in _NO_SCORES and isinstance(mean, int | float) and not isinstance(mean, bool):
            scores[name] = float(mean)
    return scores


_NO_SCORES = ("images", "step", "seconds")  # numbers of evaluation.json that are none
