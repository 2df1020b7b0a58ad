"""What this machine has for the workers of a Ray cluster of our own."""

from __future__ import annotations

import os

import psutil
import torch

from dmgan.config import Config

__all__ = ["devices", "kind_of_device", "memory_bytes"]


def kind_of_device(config: Config) -> str:
    """GPU or CPU: what each worker would get one of."""
    wanted = config.train.accelerator
    return "GPU" if wanted == "gpu" or (wanted == "auto" and torch.cuda.is_available()) else "CPU"


def devices(kind: str) -> int:
    return torch.cuda.device_count() if kind == "GPU" else os.cpu_count() or 1


def memory_bytes(kind: str) -> float:
    """Of the smallest GPU, or of the machine, or the container, that all workers share."""
    if kind == "GPU" and torch.cuda.is_available():
        return min(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count()))
    from ray._private.utils import get_system_memory

    return float(min(get_system_memory(), psutil.virtual_memory().total))
