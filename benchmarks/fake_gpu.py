"""A GPU for tensors that have shapes and no contents, on a machine without one.

`on_fake_gpu(function, …)` calls a function in a process where such tensors can be on a CUDA device, forwards, backwards
and in the optimizer. It wants a C++ compiler where torch is a build for CPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from datasets.errors import UserError

__all__ = ["GPU", "HostWaitsError", "on_fake_gpu"]

T = TypeVar("T")

GPU = torch.device("cuda", 0)


class HostWaitsError(AssertionError):
    """An operation for which the host waits until the device has done all that came before."""


def on_fake_gpu(function: Callable[..., T], *arguments: Any) -> T:
    """What the function returns, both to be pickled. Raises what it raises, HostWaitsError where the
    contents of a tensor are asked for, UserError without a compiler."""
    # Loaded before torch, which asks once whether there is a device.
    preloaded = {} if torch.version.cuda else {"LD_PRELOAD": str(_library())}
    with patch.dict(os.environ, preloaded), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_within, function, arguments).result()


@cache
def _library() -> Path:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise UserError("fake GPU: no C++ compiler: expected g++, or the name of another in CXX")
    root = Path(torch.__file__).parent
    target = Path(tempfile.mkdtemp(prefix="fake-gpu-")) / "fake_gpu.so"
    link = [f"-L{root / 'lib'}", f"-Wl,-rpath,{root / 'lib'}", "-lc10", "-ltorch_cpu"]
    options = ["-std=c++20", "-w", "-shared", "-fPIC", f"-I{root / 'include'}", "-o", str(target)]
    source = Path(__file__).with_suffix(".cpp")
    done = subprocess.run([compiler, str(source), *options, *link], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"fake GPU: {source.name} does not compile: {done.stderr.strip().splitlines()[0]}")
    return target


def _within(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    try:
        with _fake():
            return function(*arguments)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:  # which cannot be pickled
        raise HostWaitsError(f"{error.func} asks for a tensor's contents") from None


@contextmanager
def _fake() -> Iterator[None]:
    with ExitStack() as stack:
        if not torch.version.cuda:  # what Python asks of CUDA before it computes in bfloat16
            stack.enter_context(patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False))
            stack.enter_context(patch("torch.cuda.is_bf16_supported", lambda *_, **__: True))
        stack.enter_context(patch.object(nn.Module, "_apply", _apply))
        stack.enter_context(patch.object(Tensor, "pin_memory", lambda self, *_: self))
        stack.enter_context(patch.object(torch._VF, "lstm", _lstm))
        stack.callback(_shapes_of_normalisation()._destroy)
        # A tensor's copy is of the same mode, not of a copy of it.
        stack.enter_context(patch.object(FakeTensorMode, "__deepcopy__", lambda self, _: self, create=True))
        stack.enter_context(FakeTensorMode())
        yield


def _shapes_of_normalisation() -> torch.library.Library:
    """Of the kernels of batch normalisation over several workers, whose shapes torch does not know. It ends them."""
    library = torch.library.Library("aten", "IMPL", "Meta")

    def moments(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        return x.new_empty(x.shape[1], dtype=torch.float32), x.new_empty(x.shape[1], dtype=torch.float32)

    def reduced(grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor, ...]:
        return torch.empty_like(mean), torch.empty_like(mean), torch.empty_like(weight), torch.empty_like(weight)

    library.impl("batch_norm_stats", moments)
    library.impl("batch_norm_gather_stats_with_counts", moments)
    library.impl("batch_norm_elemt", lambda x, *_: torch.empty_like(x))
    library.impl("batch_norm_backward_reduce", reduced)
    library.impl("batch_norm_backward_elemt", lambda grad, x, *_: torch.empty_like(x))
    return library


def _apply(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """What `nn.Module.to` calls; torch's own swaps tensors, which those without contents do not allow."""
    for module in self.modules():
        with torch.no_grad():
            for name, p in module._parameters.items():
                if p is not None:
                    module._parameters[name] = nn.Parameter(fn(p), p.requires_grad)
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = fn(buffer)
        if isinstance(module, nn.RNNBase):
            module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
    return self


def _lstm(x: Tensor, start: tuple[Tensor, Tensor], weights: list[Tensor], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """cuDNN's LSTM is one kernel; where it is not there, torch's takes some for every gate of every token."""
    return _Lstm.apply(x, *start, *weights)


class _Lstm(torch.autograd.Function):
    """Shapes of a bidirectional LSTM's states and of its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, h: Tensor, c: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(x, h, c, *weights)
        states = torch.zeros(*x.shape[:2], 2 * h.shape[2], dtype=x.dtype, device=x.device)
        return states, torch.empty_like(h), torch.empty_like(c)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        first, *others = (torch.empty_like(tensor) for tensor in ctx.saved_tensors)
        return first.zero_(), *others
