"""A run with its weights: what torch is needed for, beside what `RunFolder` reads and writes."""

from __future__ import annotations

import io
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import nn

from datasets import storage
from dmgan.architectures import build_gan_discriminators, build_generator
from dmgan.config import Config, ConfigError
from dmgan.model.build import Encoders, build_encoders
from dmgan.model.generator import Generator
from dmgan.model.text_encoders import read_tokenizer, text_encoders
from dmgan.model.tokenizers import Tokenizer
from dmgan.runs.folder import GeneratorRecord, RunFolder, generator_json, not_there

__all__ = ["GeneratorRecord", "Run", "generator_json", "read_weights"]


@dataclass(frozen=True)
class Run(RunFolder):
    """The run at `url`, a folder or s3://bucket/path."""

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
            raise ConfigError(not_there(self.path("generator.json"), "train"))
        tensors = self._needed("generator.safetensors", "train")
        with self._well_formed("generator.json"):
            generator = build_generator(record.model)
        with self._well_formed("generator.safetensors"):
            generator.load_state_dict(_finite(safetensors.torch.load(tensors)))
        return generator.eval().requires_grad_(False)


def _finite(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Raises ValueError for weights that would only give black pictures."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} has values that are no numbers or infinite")
    return tensors


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
