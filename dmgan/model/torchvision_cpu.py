"""torchvision, also where it was built for CUDA and torch was not; import torch-fidelity after this, too.

PyPI's torchvision registers operators of its CUDA build at import, which fails under a CPU-only torch. Declaring the
two it asks for lets the import through; nothing here calls them.
"""

from __future__ import annotations

import torch

if torch.version.cuda is None:
    _library = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision

__all__ = ["torchvision"]
