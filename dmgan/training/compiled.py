"""`train.compile`: networks whose operations torch.compile fuses, and settings of a process that cost nothing."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils._triton import has_triton

from dmgan.allocator import keep_freed_memory
from dmgan.config import Config, ConfigError

__all__ = ["compile_networks", "fast_settings"]


def compile_networks(config: Config, device: torch.device, *networks: nn.Module, backend: str = "inductor") -> None:
    """With `train.compile` let the networks be compiled at their first forward, in place: names of weights stay.

    Raises ConfigError where nothing compiles for the device.
    """
    if not config.train.compile:
        return
    if backend == "inductor":
        _check_compiler(device)
    for network in networks:
        network.compile(backend=backend)


def _check_compiler(device: torch.device) -> None:
    if device.type == "cuda":
        if not has_triton():
            raise ConfigError("train.compile=true: Triton is not installed: expected it on a GPU, or false")
        return
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ConfigError(
            "train.compile=true: no C++ compiler is installed: expected g++ or clang++, or false"
        ) from error


def fast_settings(config: Config, device: torch.device) -> None:
    """For this process: on a GPU cuDNN's quickest algorithm for each shape, found by trying at first use, as
    the shapes of a training do not change; with `train.tf32` TensorFloat-32 in convolutions and matrix products. On the
    CPU memory that a step's tensors free is kept for the next step's."""
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = config.train.tf32
        torch.set_float32_matmul_precision("high" if config.train.tf32 else "highest")
