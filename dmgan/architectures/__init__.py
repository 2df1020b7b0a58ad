"""Generator architectures with their training steps, by name; one file each. docs/extending.md shows how to add one."""

from dmgan.architectures import attngan, dm_gan, gan_int_cls, stackgan
from dmgan.architectures.architecture import Architecture, architectures
from dmgan.architectures.assembly import build_gan_discriminators, build_generator, damsm_training, gan_training

__all__ = [
    "Architecture",
    "architectures",
    "attngan",
    "build_gan_discriminators",
    "build_generator",
    "damsm_training",
    "dm_gan",
    "gan_int_cls",
    "gan_training",
    "stackgan",
]
