"""What a training step asks of a GPU, counted without one: the operations that start kernels, and none that waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.fake_gpu import GPU, HostWaitsError
from dmgan.architectures import damsm_training, gan_training
from dmgan.config import load_config
from dmgan.model.build import build_encoders
from dmgan.training.batch import TrainingBatch
from dmgan.training.engine import plain_engine

__all__ = ["Kernels", "damsm_kernels", "gan_kernels"]

_IDS = 5450  # of CUB's vocabulary
# They make or rename tensors and start nothing on the device, as views do.
_NO_KERNEL = {"detach", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh"}
_NO_KERNEL |= {"_unsafe_view", "_reshape_alias", "alias", "set_", "resize_", "_pin_memory", "is_pinned"}


class Kernels(TorchDispatchMode):
    """Within it the operations are counted that start kernels on a device, by name.

    One of a fused or `foreach` kind counts once, and so does a convolution's backward pass. Raises HostWaitsError for
    one that the host waits for, as a copy to or from the device does that is not asked for with `non_blocking`.
    """

    def __init__(self, device: torch.device = GPU) -> None:
        super().__init__()
        self._kind = device.type
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        given, made = _tensors((args, kwargs)), _tensors(result)
        if func.namespace != "prim" and any(tensor.device.type == self._kind for tensor in (*given, *made)):
            _check_waiting(func, given, made, args, kwargs or {})
            if not func.is_view and name not in _NO_KERNEL:
                self.counts[name] += 1
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _check_waiting(
    func: Any, given: list[Tensor], made: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    name = func.overloadpacket.__name__
    if name not in ("_to_copy", "copy_"):
        return
    target, source = (made[0], given[0]) if name == "_to_copy" else (given[0], given[1])
    unasked = not (kwargs.get("non_blocking", False) or (name == "copy_" and len(args) > 2 and args[2]))
    if target.device.type != source.device.type and unasked:
        raise HostWaitsError(f"{name} of {tuple(source.shape)} from {source.device} to {target.device}")


def gan_kernels(preset: str | None, settings: Sequence[str] = ()) -> Counter[str]:
    """Of the second step of the GAN, on `benchmarks.fake_gpu`. Raises HostWaitsError."""
    config = load_config(preset, list(settings))
    encoders = build_encoders(config.model, _IDS).to(GPU).eval().requires_grad_(False)
    training = gan_training(config, encoders, plain_engine, GPU)
    size, pixels = config.train.images_a_step, config.model.image_sizes[-1]
    return _counted(training, _batch(size, pixels, config.data.max_words))


def damsm_kernels(preset: str | None, settings: Sequence[str] = ()) -> Counter[str]:
    """The same of the encoders' pre-training."""
    config = load_config(preset, list(settings))
    training = damsm_training(config, _IDS, plain_engine, GPU, steps=100)
    size, pixels = config.pretrain.batch_size, config.model.image_sizes[-1]
    return _counted(training, _batch(size, pixels, config.data.max_words))


def _counted(training: Any, batch: TrainingBatch) -> Counter[str]:
    training.step(batch, 0)  # the optimizers make their moments
    with Kernels() as kernels:
        outcome = training.step(batch, 1)
    astray = [name for name, loss in outcome.losses.items() if loss.device != GPU]
    assert not astray, f"not on the device: {astray}"
    return kernels.counts


def _batch(size: int, pixels: int, words: int) -> TrainingBatch:
    images = torch.zeros(size, 3, pixels, pixels, dtype=torch.uint8)
    ids, numbers = torch.ones(size, words, dtype=torch.int64), torch.ones(size, dtype=torch.int64)
    return TrainingBatch(images, ids, numbers, numbers).to(GPU)
