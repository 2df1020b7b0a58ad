"""A run's folder: the names of the files in it, and reading and writing the small ones.

STORAGE/NAME/run.yaml, vocabulary.json, metrics.jsonl, samples/, checkpoints/, encoders.safetensors,
generator.safetensors, generator.json, evaluation.json, report.html
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import yaml
from torch import nn

from datasets import storage
from datasets.vocabulary import Vocabulary
from dmgan.config import Config, ConfigError, Model, parse_config
from dmgan.generator import Generator
from dmgan.networks import Encoders, build_encoders, build_generator

__all__ = ["MetricsLog", "Run"]


@dataclass(frozen=True)
class Run:
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
        return json.loads(storage.read_bytes(self.path(name)))

    def write_json(self, name: str, value: Any) -> None:
        storage.write_bytes(self.path(name), (json.dumps(value, indent=2) + "\n").encode())

    def read_config(self) -> Config:
        """Raises ConfigError where run.yaml is not a configuration of this version."""
        try:
            return parse_config(yaml.safe_load(storage.read_bytes(self.path("run.yaml"))))
        except ConfigError as error:
            raise ConfigError(f"{self.path('run.yaml')}: {error}") from None

    def write_config(self, config: Config) -> None:
        storage.write_bytes(self.path("run.yaml"), config.to_yaml().encode())

    def read_metrics(self) -> list[dict[str, Any]]:
        if not self.has("metrics.jsonl"):
            return []
        return [json.loads(line) for line in storage.read_bytes(self.path("metrics.jsonl")).splitlines() if line]

    def read_vocabulary(self) -> Vocabulary:
        return Vocabulary.from_json(self._needed("vocabulary.json", "pretrain"))

    def save_encoders(self, encoders: Encoders, vocabulary: Vocabulary) -> None:
        """The encoders last: where they are, the vocabulary is."""
        storage.write_bytes(self.path("vocabulary.json"), vocabulary.to_json().encode())
        storage.write_bytes(self.path("encoders.safetensors"), _tensors(encoders))

    def load_encoders(self, config: Config) -> Encoders:
        """The run's encoders, frozen and in evaluation mode."""
        encoders = build_encoders(config.model, len(self.read_vocabulary()))
        encoders.load_state_dict(safetensors.torch.load(self._needed("encoders.safetensors", "pretrain")))
        return encoders.eval().requires_grad_(False)

    def save_generator(self, generator: nn.Module, config: Config, step: int, steps: int) -> None:
        """The averaged generator after `step` of `steps`."""
        storage.write_bytes(self.path("generator.safetensors"), _tensors(generator))
        self.write_json("generator.json", {"step": step, "steps": steps, "model": config.model.model_dump()})

    def load_generator(self) -> Generator:
        """The run's averaged generator in evaluation mode."""
        about = json.loads(self._needed("generator.json", "train"))
        generator = build_generator(Model.model_validate(about["model"]))
        generator.load_state_dict(safetensors.torch.load(self._needed("generator.safetensors", "train")))
        return generator.eval().requires_grad_(False)

    def trained_steps(self) -> int:
        """The step of generator.safetensors; 0 where there is none."""
        return int(self.read_json("generator.json")["step"]) if self.has("generator.json") else 0

    def _needed(self, name: str, command: str) -> bytes:
        if not self.has(name):
            raise ConfigError(f"{self.path(name)}: not found; run `python -m dmgan.launch {command}` first")
        return storage.read_bytes(self.path(name))


def _tensors(module: nn.Module) -> bytes:
    return safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()})


class MetricsLog:
    """metrics.jsonl, one JSON object a line. Starting at `step` drops later lines, which a resumed run writes again."""

    SAVE_SECONDS = 10.0

    def __init__(self, run: Run, stage: str, step: int) -> None:
        self._run, self._saved = run, 0.0
        kept = [m for m in run.read_metrics() if m["stage"] != stage or m["step"] <= step]
        self._lines = [json.dumps(line) for line in kept]
        self._stage = stage

    def append(self, line: dict[str, Any]) -> None:
        """Add a line; it is in the file within `SAVE_SECONDS` of the next one, or at `save`."""
        self._lines.append(json.dumps({"stage": self._stage, **line}))
        if time.monotonic() - self._saved > self.SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the whole file: object stores cannot append."""
        self._saved = time.monotonic()
        storage.write_bytes(self._run.path("metrics.jsonl"), ("\n".join(self._lines) + "\n").encode())
