"""python -m benchmarks.kernels: what a training step asks of a GPU, counted without one.

The operations that start kernels, of a step of the GAN and of one of the encoders' pre-training; one that the host
would wait for is an error. `--json` prints the counts as the last line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.fake_gpu import GPU, HostWaitsError, on_fake_gpu
from datasets.errors import run_command
from dmgan.architectures import damsm_training, gan_training
from dmgan.config import load_config
from dmgan.model.build import build_encoders
from dmgan.training.batch import TrainingBatch
from dmgan.training.engine import plain_engine

__all__ = ["Kernels", "counts", "damsm_kernels", "gan_kernels", "main"]

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


def counts(preset: str, settings: Sequence[str] = ()) -> dict[str, dict[str, dict[str, int]]]:
    """By training (train, pretrain), precision and operation."""
    trainings, precisions = {"train": gan_kernels, "pretrain": damsm_kernels}, ("float32", "bfloat16")
    return {
        name: {each: dict(kernels(preset, [*settings, f"train.precision={each}"])) for each in precisions}
        for name, kernels in trainings.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="cub")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--most", type=int, default=12, help="operations that are listed")
    parser.add_argument("--json", action="store_true", help="the counts as the last line")
    return run_command("benchmarks.kernels", partial(_carry_out, parser.parse_args(arguments)))


def _carry_out(options: argparse.Namespace) -> int:
    load_config(options.preset, options.settings)  # what is wrong with it is said here, and not by another process
    found = on_fake_gpu(counts, options.preset, options.settings)
    print("| training | precision | kernels | most of them |\n|---|---|---|---|")
    for training, precisions in found.items():
        for precision, names in precisions.items():
            most = ", ".join(f"{n} {name}" for name, n in Counter(names).most_common(options.most))
            print(f"| {training} | {precision} | {sum(names.values()):,} | {most} |")
    if options.json:
        print(json.dumps({name: {each: sum(n.values()) for each, n in of.items()} for name, of in found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
