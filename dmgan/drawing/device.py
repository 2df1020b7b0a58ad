"""Where is drawn, and in which numbers."""

from __future__ import annotations

import torch

from datasets.documents import short
from dmgan.drawing.request import DrawingError

__all__ = ["NUMBER_TYPES", "number_type", "usable_device"]

NUMBER_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def usable_device(wanted: str | torch.device | None) -> torch.device:
    """The device of that name; where None is wanted a GPU if there is one. Raises DrawingError."""
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except (RuntimeError, TypeError):
        raise DrawingError(f"device={short(wanted)}: unknown; expected cpu, cuda or cuda:NUMBER") from None
    try:
        (torch.zeros(1, device=device) + 1).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise DrawingError(f"device={short(wanted)}: not there; there are: {', '.join(there)}") from None
    return device


def number_type(wanted: str | torch.dtype | None) -> torch.dtype:
    """The number format of that name, float32 for None. Raises DrawingError."""
    found = torch.float32 if wanted is None else NUMBER_TYPES.get(str(wanted).removeprefix("torch."))
    if found is None:
        raise DrawingError(f"dtype={short(wanted)}: expected {', '.join(NUMBER_TYPES)}")
    return found
