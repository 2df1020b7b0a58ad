"""The averaged generators in a run's training checkpoints, which `cluster.worker.checkpoints` writes."""

from __future__ import annotations

import hashlib

import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from datasets import storage
from datasets.documents import first_problem
from datasets.storage import StorageError
from dmgan.architectures import build_generator
from dmgan.config import ConfigError
from dmgan.model.generator import Generator
from dmgan.runs.run import Run

__all__ = ["averaged_steps", "load_averaged"]

_FOLDER = "train-{:08d}"
_AVERAGE = "average.safetensors"


class _File(BaseModel):
    sha256: str


class _State(BaseModel):
    """What is needed of a checkpoint's state.json, which is written last."""

    model_config = ConfigDict(extra="ignore")

    files: dict[str, _File]


def averaged_steps(run: Run) -> list[int]:
    """The steps of the run's complete checkpoints of the GAN, rising. Raises StorageError."""
    names = storage.list_folders(run.path("checkpoints"))
    steps = [int(name[6:]) for name in names if name.startswith("train-") and name[6:].isdecimal()]
    return sorted(step for step in steps if run.has("checkpoints", _FOLDER.format(step), "state.json"))


def load_averaged(run: Run, step: int) -> Generator:
    """The averaged generator of the run's checkpoint at `step`, in evaluation mode.

    Raises ConfigError where there is no such checkpoint, StorageError where it is damaged.
    """
    folder = run.path("checkpoints", _FOLDER.format(step))
    try:
        state = _State.model_validate_json(storage.read_bytes(storage.join(folder, "state.json")))
    except storage.MissingError:
        there = ", ".join(map(str, averaged_steps(run))) or "none"
        raise ConfigError(f"{run.path('checkpoints')}: no checkpoint of step {step}; there are: {there}") from None
    except ValidationError as error:
        raise StorageError(f"{folder}/state.json: damaged: {first_problem(error)}") from None
    generator = build_generator(run.read_config().model)
    generator.load_state_dict(_tensors(storage.join(folder, _AVERAGE), state))
    return generator.eval().requires_grad_(False)


def _tensors(url: str, state: _State) -> dict[str, Tensor]:
    content = storage.read_bytes(url)
    if _AVERAGE not in state.files or hashlib.sha256(content).hexdigest() != state.files[_AVERAGE].sha256:
        raise StorageError(f"{url}: damaged: has another checksum than state.json says")
    return dict(safetensors.torch.load(content))
