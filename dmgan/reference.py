"""The door to `dmgan.released`: the authors' checkpoints load, become runs, and are written back.

    python -m dmgan.reference import --generator netG.pth --text-encoder text_encoder.pth \\
        --image-encoder image_encoder.pth --captions captions.pickle --out RUN
    python -m dmgan.reference export --run RUN --out DIR
"""

from __future__ import annotations

import sys

from dmgan.released.command import main
from dmgan.released.names import (
    StateDictError,
    export,
    export_discriminator,
    load_discriminator,
    load_generator,
    load_image_encoder,
    load_text_encoder,
)

__all__ = [
    "StateDictError",
    "export",
    "export_discriminator",
    "load_discriminator",
    "load_generator",
    "load_image_encoder",
    "load_text_encoder",
    "main",
]

if __name__ == "__main__":
    sys.exit(main())
