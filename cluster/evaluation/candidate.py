"""The generator that an evaluation scores: the run's own, or one of its checkpoints."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import safetensors.torch
from torch import Tensor

from cluster.worker.checkpoints import Checkpoints
from dmgan.architectures import build_generator
from dmgan.config import Config, ConfigError
from dmgan.evaluation.judges import encoders_sha256, judges_sha256
from dmgan.evaluation.protocol import checksum
from dmgan.evaluation.record import Evaluation, read_evaluation
from dmgan.model.generator import Generator
from dmgan.runs.checkpoints import load_averaged
from dmgan.runs.run import Run
from dmgan.training.engine import EngineState

__all__ = ["Candidate", "candidate", "current_evaluation", "steps_of"]


@dataclass(frozen=True)
class Candidate:
    """A generator to score, where it comes from, and checksums of what its scores depend on."""

    generator: Generator
    step: int
    weights: str  # ema or raw
    generator_sha256: str
    encoders_sha256: str
    judges_sha256: dict[str, str | None]  # of the judges besides the run's own encoders
    checksum: str  # of all that its scores depend on

    @property
    def name(self) -> str:
        return f"step_{self.step:08d}-{self.weights}"


def steps_of(run: Run) -> list[int]:
    """The steps of the run's complete GAN checkpoints, rising."""
    return sorted(state.step for _, state in Checkpoints(run).states("train"))


def candidate(config: Config, run: Run, step: int | None = None) -> Candidate:
    """The run's generator, or the one of its checkpoint at `step`; `evaluate.weights` says which of its weights.

    Raises ConfigError where there is no such checkpoint, StorageError where it is damaged.
    """
    weights, trained = config.evaluate.weights, run.trained_steps()
    if weights == "ema" and step in (None, trained):
        generator, step = run.load_generator(), trained
    elif weights == "ema" and step is not None:
        generator = load_averaged(run, step)
    else:
        step = trained if step is None else step
        generator = build_generator(run.read_config().model)
        generator.load_state_dict(_trained_weights(run, step))
        generator = generator.eval().requires_grad_(False)
    tensors = {key: tensor.contiguous() for key, tensor in generator.state_dict().items()}
    own = hashlib.sha256(safetensors.torch.save(tensors)).hexdigest()
    encoders, judges = encoders_sha256(run), judges_sha256(config, run)
    return Candidate(generator, step, weights, own, encoders, judges, checksum(config, encoders, own, judges))


def _trained_weights(run: Run, step: int) -> dict[str, Tensor]:
    """Those that training goes on with, which are not averaged."""
    checkpoints = Checkpoints(run)
    states = {state.step: (name, state) for name, state in checkpoints.states("train")}
    if step not in states:
        there = ", ".join(map(str, sorted(states))) or "none"
        raise ConfigError(f"{run.path('checkpoints')}: no checkpoint of step {step}; there are: {there}")
    name, state = states[step]
    return EngineState.from_bytes(checkpoints.read(name, "generator.safetensors", state)).weights


def current_evaluation(run: Run, chosen: Candidate) -> Evaluation | None:
    """The evaluation that is there of these very weights with these settings, if there is one."""
    found = read_evaluation(run, f"evaluations/{chosen.name}.json")
    return found if found is not None and found.checksum == chosen.checksum else None
