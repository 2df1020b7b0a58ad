"""What a training step of a configuration costs: bytes counted on tensors without contents, seconds timed here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dmgan.architectures import build_gan_discriminators, build_generator, damsm_training, gan_training
from dmgan.config import Config
from dmgan.model.build import Encoders, build_encoders
from dmgan.model.layers import BatchNorm
from dmgan.training.batch import TrainingBatch
from dmgan.training.engine import plain_engine
from dmgan.training.matching import sentence_scores, word_scores
from dmgan.training.outcome import precision

__all__ = ["Footprint", "StepTime", "footprint", "gan_step", "pretraining_step"]

_WORDS = 5000  # of a vocabulary, where none is at hand: CUB's size; it matters to the frozen text encoder alone


def _ids(config: Config) -> int:
    return config.text.vocabulary_size if config.text.tokenizer == "bpe" else _WORDS


@dataclass(frozen=True)
class Footprint:
    """Of one GPU with one batch, in float32 unless `train.precision` says otherwise."""

    generator: int  # trained parameters
    discriminators: int
    frozen_bytes: int  # of the encoders
    average_bytes: int  # of the generator's moving average
    checkpoint_bytes: int  # of one checkpoint
    activation_bytes: int  # kept for backward passes at the most, not what kernels use in passing
    normalisations: int  # BatchNorm layers of the generator, two messages each a step where statistics are global

    def state_bytes(self, zero_stage: int, workers: int) -> int:
        """Weights, gradients, Adam's moments and DeepSpeed's master copies and buckets, on each GPU.

        Stage 0 keeps everything everywhere and reduces through a flat copy of the gradients; 1 shards moments and
        master weights; 2 gradients too; 3 weights too, which are gathered whole in each network's turn. At 1 to 3
        gradients leave through a bucket as large as the network's gradients (`cluster.worker.engines`).
        """
        if zero_stage == 0:
            return sum(4 * p * (1 + 1 + 2 + 1) for p in (self.generator, self.discriminators))
        share = 1 / workers
        sharded = {1: 3 * share + 1, 2: 3 * share + share, 3: 3 * share + 2 * share}[zero_stage]
        whole = 1  # the weights; at stage 3 while they are gathered
        return sum(int(4 * p * (whole + sharded + 1)) for p in (self.generator, self.discriminators))

    def gpu_bytes(self, zero_stage: int, workers: int) -> int:
        """All of it, less what the allocator, cuDNN and NCCL take for themselves."""
        kept = self.frozen_bytes + self.average_bytes + self.activation_bytes
        return self.state_bytes(zero_stage, workers) + kept


def footprint(config: Config, workers: int = 1) -> Footprint:
    """Of one of so many workers. Counted on tensors that have shapes and no contents: in seconds, whatever the size."""
    with FakeTensorMode():
        return _footprint(config, workers)


def _footprint(config: Config, workers: int) -> Footprint:
    generator = build_generator(config.model, config.train.activation_checkpointing)
    discriminators = build_gan_discriminators(config.model)
    encoders = build_encoders(config.model, _ids(config)).eval().requires_grad_(False)
    average, held = _bytes(generator), _bytes(generator) + _bytes(discriminators)
    moments = 2 * 4 * (_trained(generator) + _trained(discriminators))
    return Footprint(
        generator=_trained(generator),
        discriminators=_trained(discriminators),
        frozen_bytes=_bytes(encoders),
        average_bytes=average,
        checkpoint_bytes=held + moments + average,
        activation_bytes=_activations(config, workers, generator.train(), discriminators.train(), encoders),
        normalisations=sum(isinstance(module, BatchNorm) for module in generator.modules()),
    )


def _trained(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _bytes(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in module.state_dict().values())


def _activations(
    config: Config, workers: int, generator: nn.Module, discriminators: nn.Module, encoders: Encoders
) -> int:
    """Bytes that autograd keeps: the generator's graph with the discriminators' on real and generated images, or with
    the discriminators' and the image encoder's on generated ones, whichever is more."""
    b, options, words = config.train.batch_size, config.model, config.data.max_words
    weights = [t for m in (generator, discriminators, encoders) for t in (*m.parameters(), *m.buffers())]
    sentence, word = torch.empty(b, options.word_dim), torch.empty(b, options.word_dim, words)
    mask = torch.zeros(b, words, dtype=torch.bool)
    noise, eps = torch.empty(b, options.noise_dim), torch.empty(b, options.condition_dim)
    autocast = precision(config, torch.device("cpu"))
    with _counted(weights) as of_generator, autocast():
        images = generator(noise, sentence, word, mask, eps).images
    both = [torch.empty(2 * b, *image.shape[1:]) for image in images]
    with _counted(weights) as of_judging_both, autocast():
        discriminators(both, torch.cat([sentence, sentence]), None, 1)
    discriminators.requires_grad_(False)
    with _counted(weights) as of_judging:
        with autocast():
            discriminators(images, sentence)
            regions, code = encoders.image(images[-1])
        # Each worker scores its images against everybody's captions, unless DAMSM's negatives are local.
        everybody = b * (workers if config.objective.negatives == "global" else 1)
        captions, padding = torch.empty(everybody, options.word_dim, words), torch.zeros(everybody, words) > 0
        word_scores(regions.float(), captions, padding, config.objective.gamma1, config.objective.gamma2)
        sentence_scores(code.float(), torch.empty(everybody, options.word_dim))
    return of_generator() + max(of_judging_both(), of_judging())


@contextmanager
def _counted(but: list[Tensor]) -> Iterator[Callable[[], int]]:
    """Counts the storages that autograd keeps within, each once, without those of the tensors `but`."""
    known = {t.untyped_storage()._cdata for t in but}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in known:
            kept[tensor.untyped_storage()._cdata] = tensor  # held, lest another gets its number
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield lambda: sum(t.untyped_storage().nbytes() for t in kept.values())


@dataclass(frozen=True)
class StepTime:
    """Seconds a step took here, the images in it, and the most memory that was in use on the GPU (0 on a CPU)."""

    seconds: float
    images: int
    device: str
    peak_bytes: int

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds


def gan_step(config: Config, steps: int) -> StepTime:
    """Steps of the GAN on this device, one process, random images and captions, the quickest."""
    device = _device()
    torch.manual_seed(0)
    encoders = build_encoders(config.model, _ids(config)).to(device).eval().requires_grad_(False)
    training = gan_training(config, encoders, plain_engine, device)
    return _timed(training.step, _batch(config, config.train.batch_size, device), steps, device)


def pretraining_step(config: Config, steps: int) -> StepTime:
    """The same of the encoders' pre-training."""
    device = _device()
    torch.manual_seed(0)
    training = damsm_training(config, _ids(config), plain_engine, device, steps=1000)
    return _timed(training.step, _batch(config, config.pretrain.batch_size, device), steps, device)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _batch(config: Config, size: int, device: torch.device) -> TrainingBatch:
    pixels, words = config.model.image_sizes[-1], config.data.max_words
    return TrainingBatch(
        torch.randint(0, 256, (size, 3, pixels, pixels), dtype=torch.uint8, device=device),
        torch.randint(1, _ids(config), (size, words), device=device),
        torch.full((size,), words, device=device),
        torch.arange(size, device=device),
    )


def _timed(
    step: Callable[[TrainingBatch, int], object], batch: TrainingBatch, steps: int, device: torch.device
) -> StepTime:
    """The first step is not counted: it sets up what later ones use."""
    taken = []
    for number in range(steps + 1):
        began = time.perf_counter()
        step(batch, number)
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return StepTime(min(taken[1:]), len(batch), name, peak)
