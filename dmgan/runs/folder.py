"""A run's folder: the names of the files in it, and reading and writing those that hold no weights. Without torch.

STORAGE/NAME/run.yaml, vocabulary.json, metrics.jsonl, samples/, checkpoints/, encoders.safetensors,
generator.safetensors, generator.json, evaluation.json, report.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError

from datasets import storage
from datasets.documents import DocumentError, first_problem, parse_yaml, short
from dmgan.config import Config, ConfigError, Model, parse_config
from dmgan.runs.metrics import MetricsLine

__all__ = ["LEASE", "LIVE_REPORT", "ORIGIN", "GeneratorRecord", "RunFolder", "check_name", "generator_json"]

LEASE = ".lease.json"  # of whoever works on the run
LIVE_REPORT = ".report-of-a-training"  # where report.html is of a training that goes on
ORIGIN = "origin.json"  # the run and step of which a run was made, if it was


class GeneratorRecord(BaseModel):
    """generator.json: what generator.safetensors holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    step: int  # after which the weights are
    steps: int  # that the training was planned for; 0 of an imported one
    model: Model

    @property
    def is_imported(self) -> bool:
        return self.steps == 0


@dataclass(frozen=True)
class RunFolder:
    """The run at `url`, a folder or s3://bucket/path."""

    url: str

    @property
    def name(self) -> str:
        return self.url.rstrip("/").rsplit("/", 1)[-1]

    def path(self, *parts: str) -> str:
        return storage.join(self.url, *parts)

    def has(self, *parts: str) -> bool:
        return storage.exists(self.path(*parts))

    def read_json(self, name: str) -> Any:
        with self._well_formed(name):
            return json.loads(storage.read_bytes(self.path(name)))

    def write_json(self, name: str, value: Any) -> None:
        storage.write_bytes(self.path(name), (json.dumps(value, indent=2) + "\n").encode())

    def read_config(self) -> Config:
        """Raises ConfigError where run.yaml is not a configuration of this version."""
        with self._well_formed("run.yaml"):
            return parse_config(parse_yaml(storage.read_bytes(self.path("run.yaml")), "YAML"))

    def write_config(self, config: Config) -> None:
        storage.write_bytes(self.path("run.yaml"), config.to_yaml().encode())

    def read_metrics(self) -> list[MetricsLine]:
        if not self.has("metrics.jsonl"):
            return []
        with self._well_formed("metrics.jsonl"):
            lines = storage.read_bytes(self.path("metrics.jsonl")).splitlines()
            return [MetricsLine.model_validate_json(line) for line in lines if line]

    def set_planned_steps(self, steps: int) -> None:
        """Note in generator.json, where there is one, that training goes on to `steps`."""
        if (record := self.read_generator_record()) is not None:
            self.write_json("generator.json", record.model_copy(update={"steps": steps}).model_dump(mode="json"))

    def trained_steps(self) -> int:
        """The step of generator.safetensors; 0 where there is none."""
        record = self.read_generator_record()
        return record.step if record is not None else 0

    def read_generator_record(self) -> GeneratorRecord | None:
        """generator.json; None where there is none. Raises ConfigError for a damaged one."""
        if not self.has("generator.json"):
            return None
        with self._well_formed("generator.json"):
            return GeneratorRecord.model_validate_json(storage.read_bytes(self.path("generator.json")))

    def _needed(self, name: str, command: str) -> bytes:
        if not self.has(name):
            raise ConfigError(not_there(self.path(name), command))
        return storage.read_bytes(self.path(name))

    @contextmanager
    def _well_formed(self, name: str) -> Iterator[None]:
        """Turn what a damaged file raises into one line that names it."""
        try:
            yield
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ConfigError, DocumentError) as error:
            said = first_problem(error) if isinstance(error, ValidationError) else " ".join(str(error).split())
            reason = said[:200] or type(error).__name__
            raise ConfigError(f"{self.path(name)}: damaged or not of this model: {reason}") from error


def not_there(path: str, command: str) -> str:
    return f"{path}: not found; run `python -m dmgan.launch {command}` first"


def generator_json(config: Config, step: int, steps: int) -> bytes:
    """What stands beside generator.safetensors: its model, after `step` of `steps`."""
    return GeneratorRecord(step=step, steps=steps, model=config.model).model_dump_json(indent=2).encode()


def check_name(name: str, flag: str = "--name ") -> None:
    """A run is a folder below the storage, of one name or some: those of a sweep's trials. Raises ConfigError."""
    if not name.isprintable() or any(part in ("", ".", "..") for part in name.split("/")) or set(name) & set("?#\\"):
        raise ConfigError(f"{flag}{short(repr(name))}: expected a name such as birds, below the storage")
