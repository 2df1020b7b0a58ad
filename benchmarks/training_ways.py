"""The ways of training that `benchmarks.training` compares: the released procedure and ours, by its settings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.released_pretraining import ReleasedPretraining
from benchmarks.released_procedure import ReleasedTraining
from datasets.errors import UserError
from dmgan.architectures import damsm_training, gan_training
from dmgan.config import Config, load_config
from dmgan.model.build import build_encoders
from dmgan.training.batch import TrainingBatch
from dmgan.training.damsm import DamsmTraining
from dmgan.training.engine import MakeEngine, plain_engine
from dmgan.training.gan import GanTraining
from dmgan.training.outcome import pyramid

__all__ = [
    "FLOAT32",
    "OURS",
    "PRETRAIN",
    "RELEASED",
    "STAGES",
    "TRAIN",
    "Step",
    "Work",
    "make_way",
    "our_training",
    "timed",
    "uncompiled",
]

TRAIN, PRETRAIN = STAGES = ("train", "pretrain")
RELEASED, FLOAT32, _COMPILED = "released", "float32", "-compiled"
OURS = {
    f"{precision}{ending}": [f"train.precision={precision}", f"train.compile={bool(ending)}"]
    for ending in ("", _COMPILED)
    for precision in (FLOAT32, "bfloat16")
}  # each with its settings
_WORDS = 5450  # of CUB's vocabulary
_STEPS = 1000  # of a pre-training, whose learning rate they decide

Step = Callable[[int], dict[str, Tensor]]  # a step by its number; its losses


@dataclass(frozen=True)
class Work:
    """What is trained, and where: the same networks, captions and images for every way."""

    preset: str
    batch: int
    device: torch.device
    stage: str = TRAIN

    def config(self, way: str = FLOAT32) -> Config:
        return load_config(self.preset, [f"{self.stage}.batch_size={self.batch}", *OURS[way]])

    def check(self) -> None:
        """Raise UserError where the released procedure has no such networks."""
        model = self.config().model
        if model.image_encoder != "inception-v3" or model.base_size < 64 or model.architecture != "dm-gan":
            raise UserError(
                f"--preset {self.preset}: expected networks as released, with model.architecture=dm-gan, "
                "model.image_encoder=inception-v3 and model.base_size of at least 64"
            )

    def images_and_captions(self) -> TrainingBatch:
        """Random ones, captions of 5 to 18 words; the longest comes first, as the released text encoder wants it."""
        generator = torch.Generator().manual_seed(0)
        config = self.config()
        lengths = torch.randint(5, 19, (self.batch,), generator=generator).sort(descending=True).values
        ids = torch.randint(1, _WORDS, (self.batch, config.data.max_words), generator=generator)
        ids[torch.arange(ids.shape[1])[None] >= lengths[:, None]] = 0
        size = config.model.image_sizes[-1]
        images = torch.randint(0, 256, (self.batch, 3, size, size), generator=generator, dtype=torch.uint8)
        return TrainingBatch(images, ids, lengths, torch.arange(self.batch)).to(self.device)


def uncompiled(way: str) -> str:
    """The way of ours that is the same but for torch.compile."""
    return way.removesuffix(_COMPILED)


def our_training(work: Work, way: str = FLOAT32, make_engine: MakeEngine = plain_engine) -> GanTraining:
    """From the same weights at every call."""
    config = work.config(way)
    torch.manual_seed(0)
    encoders = build_encoders(config.model, _WORDS).to(work.device).eval().requires_grad_(False)
    return gan_training(config, encoders, make_engine, work.device)


def our_pretraining(work: Work, way: str = FLOAT32) -> DamsmTraining:
    """From the same weights at every call."""
    torch.manual_seed(0)
    return damsm_training(work.config(way), _WORDS, plain_engine, work.device, steps=_STEPS)


def make_way(name: str, work: Work) -> Step:
    """The way's training from its start.

    The released procedure gets its three image sizes ready made, as loader processes of its own make them; ours gets
    bytes and makes sizes in the step.
    """
    given = work.images_and_captions()
    if work.stage == PRETRAIN:
        if name != RELEASED:
            pretraining = our_pretraining(work, name)
            return lambda number: pretraining.step(given, number).losses
        as_released = ReleasedPretraining(work.config(), our_pretraining(work), work.device)
        return lambda number: as_released.step(given, number)
    if name != RELEASED:
        training = our_training(work, name)
        return lambda number: training.step(given, number).losses
    config = work.config()
    released = ReleasedTraining(config, our_training(work), work.device)
    real = [image.cpu() for image in pyramid(given.images, config.model.image_sizes, "bilinear")]
    return lambda number: released.step(real, given, number)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Seconds that the action takes, until the device is done with it."""
    _synchronise(device)
    began = time.perf_counter()
    action()
    _synchronise(device)
    return time.perf_counter() - began
