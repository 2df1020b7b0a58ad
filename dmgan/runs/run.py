"""A run's folder: the names of the files in it, and reading and writing the small ones.

STORAGE/NAME/run.yaml, vocabulary.json, metrics.jsonl, samples/, checkpoints/, encoders.safetensors,
generator.safetensors, generator.json, evaluation.json, report.html
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch import nn

from datasets import storage
from datasets.documents import DocumentError, first_problem, parse_yaml, short
from dmgan.architectures import build_gan_discriminators, build_generator
from dmgan.config import Config, ConfigError, Model, parse_config
from dmgan.model.build import Encoders, build_encoders
from dmgan.model.generator import Generator
from dmgan.model.text_encoders import read_tokenizer, text_encoders
from dmgan.model.tokenizers import Tokenizer
from dmgan.runs.metrics import MetricsLine

__all__ = ["GeneratorRecord", "Run", "check_name", "generator_json", "read_weights"]


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

    def read_tokenizer(self, config: Config) -> Tokenizer:
        """The tokenizer of the run's text encoder."""
        content = self._needed("vocabulary.json", "pretrain")
        with self._well_formed("vocabulary.json"):
            return read_tokenizer(content, config)

    def save_tokenizer(self, tokenizer: Tokenizer) -> None:
        storage.write_bytes(self.path("vocabulary.json"), tokenizer.to_json().encode())

    def save_encoders(self, encoders: Encoders, tokenizer: Tokenizer) -> None:
        """The encoders last: where they are, the tokenizer is."""
        self.save_tokenizer(tokenizer)
        storage.write_bytes(self.path("encoders.safetensors"), _tensors(encoders))

    def load_encoders(self, config: Config) -> Encoders:
        """The run's encoders, frozen and in evaluation mode."""
        tensors = self._needed("encoders.safetensors", "pretrain")
        encoders = build_encoders(config.model, len(self.read_tokenizer(config)))
        with self._well_formed("encoders.safetensors"):
            encoders.load_state_dict(_finite(safetensors.torch.load(tensors)))
        return encoders.eval().requires_grad_(False)

    def load_text_encoder(self, config: Config) -> nn.Module:
        """The text encoder alone, frozen and in evaluation mode."""
        tensors = self._needed("encoders.safetensors", "pretrain")
        text = text_encoders.get(config.model.text_encoder).build(config.model, len(self.read_tokenizer(config)), 0.0)
        with self._well_formed("encoders.safetensors"):
            saved = _finite(safetensors.torch.load(tensors))
            text.load_state_dict({k.removeprefix("text."): v for k, v in saved.items() if k.startswith("text.")})
        return text.eval().requires_grad_(False)

    def save_generator(self, generator: nn.Module, config: Config, step: int, steps: int) -> None:
        """The averaged generator after `step` of `steps`."""
        storage.write_bytes(self.path("generator.safetensors"), _tensors(generator))
        storage.write_bytes(self.path("generator.json"), generator_json(config, step, steps))

    def set_planned_steps(self, steps: int) -> None:
        """Note in generator.json, where there is one, that training goes on to `steps`."""
        if (record := self.read_generator_record()) is not None:
            self.write_json("generator.json", record.model_copy(update={"steps": steps}).model_dump(mode="json"))

    def load_discriminators(self, config: Config) -> nn.Module | None:
        """The run's discriminators in training mode; None where there are none (an imported run)."""
        if not self.has("discriminators.safetensors"):
            return None
        discriminators = build_gan_discriminators(config.model)
        with self._well_formed("discriminators.safetensors"):
            tensors = storage.read_bytes(self.path("discriminators.safetensors"))
            discriminators.load_state_dict(_finite(safetensors.torch.load(tensors)))
        return discriminators

    def load_generator(self) -> Generator:
        """The run's averaged generator in evaluation mode."""
        if (record := self.read_generator_record()) is None:
            raise ConfigError(_not_there(self.path("generator.json"), "train"))
        tensors = self._needed("generator.safetensors", "train")
        with self._well_formed("generator.json"):
            generator = build_generator(record.model)
        with self._well_formed("generator.safetensors"):
            generator.load_state_dict(_finite(safetensors.torch.load(tensors)))
        return generator.eval().requires_grad_(False)

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
            raise ConfigError(_not_there(self.path(name), command))
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


def check_name(name: str) -> None:
    """A run is a folder below the storage, of one name or some: those of a sweep's trials. Raises ConfigError."""
    if not name.isprintable() or any(part in ("", ".", "..") for part in name.split("/")) or set(name) & set("?#\\"):
        raise ConfigError(f"--name {short(repr(name))}: expected a name such as birds, below the storage")


def _finite(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Raises ValueError for weights that would only give black pictures."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} has values that are no numbers or infinite")
    return tensors


def _not_there(path: str, command: str) -> str:
    return f"{path}: not found; run `python -m dmgan.launch {command}` first"


def generator_json(config: Config, step: int, steps: int) -> bytes:
    """What stands beside generator.safetensors: its model, after `step` of `steps`."""
    return GeneratorRecord(step=step, steps=steps, model=config.model).model_dump_json(indent=2).encode()


def _tensors(module: nn.Module) -> bytes:
    return safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()})


def read_weights(url: str | None) -> dict[str, torch.Tensor] | None:
    """A torch state dict from a folder or bucket; nothing in it is executed. Raises ConfigError, StorageError."""
    if url is None:
        return None
    try:
        state = torch.load(io.BytesIO(storage.read_bytes(url)), map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
            raise ValueError("not a state dict of tensors")
        return _finite(dict(state))
    except storage.StorageError:
        raise
    except Exception as error:  # a damaged archive raises anything
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{url}: not a file of weights alone: {said[:200]}") from None
