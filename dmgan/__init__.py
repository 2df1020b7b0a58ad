"""DM-GAN: Dynamic Memory Generative Adversarial Networks for Text-to-Image Synthesis (Zhu et al., CVPR 2019).

The paper in plain PyTorch: networks, objectives, metrics and one training step. Nothing here imports Ray or
DeepSpeed; what they add is in `cluster`.

    from dmgan import TextToImage
    model = TextToImage.from_run("runs/quickstart")
    model(["this bird is red with black wings"], count=4).images[0].save("bird.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dmgan.drawing.request import Request
    from dmgan.drawing.result import Drawing, Result
    from dmgan.drawing.text_to_image import TextToImage

__all__ = ["Drawing", "Request", "Result", "TextToImage", "__version__"]

__version__ = "0.2.0"

_ROOMS = {"Drawing": "result", "Request": "request", "Result": "result", "TextToImage": "text_to_image"}


def __getattr__(name: str) -> object:
    """The names for those who use a model, imported when asked for: `import dmgan` alone loads no torch."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"dmgan.drawing.{_ROOMS[name]}"), name)
