"""`model`: the networks' architectures and sizes."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import field_validator, model_validator

from dmgan.config.keys import Natural, Positive, Role, Section, key

__all__ = ["Model"]


class Model(Section):
    """The networks' architectures and sizes."""

    ROLES: ClassVar[tuple[Role, ...]] = ("network", "fixed")

    architecture: str = key("dm-gan", "generator and its training step: a registered name (dmgan/architectures/)")
    memory: Literal["baseline", "m", "m_wg", "m_wg_rg"] = key("m_wg_rg", "memory of dm-gan, a row of Table 3")
    text_encoder: str = key("lstm", "text encoder: a registered name", "encoders")
    word_dim: Positive = key(256, "N_w, word features", "encoders")
    image_dim: Positive = key(64, "N_r, image features")
    memory_dim: Positive = key(128, "N_m, features of a memory slot")
    condition_dim: Positive = key(100, "dimensions of the augmented condition c")
    noise_dim: Positive = key(100, "dimensions of the noise z")
    base_size: Positive = key(64, "pixels a side of the first stage's images", "encoders", "not searched")
    refinements: Natural = key(
        2, "dynamic-memory refinements, each of which doubles the size", "encoders", "not searched"
    )
    residual_blocks: Natural = key(2, "residual blocks of a refinement")
    discriminator_width: Positive = key(32, "channels of each discriminator's first convolution")
    embedding_dim: Positive = key(300, "dimensions of a word embedding at the LSTM's input", "encoders")
    image_encoder: Literal["inception-v3", "compact"] = key("inception-v3", "trunk of the image encoder", "encoders")
    align_corners: bool = key(
        False, "whether Inception-v3's resize to 299 pixels keeps the corners' pixels in place, as released", "encoders"
    )
    padding_mask: Literal["aligned", "interleaved"] = key(
        "aligned", "caption that masks a pixel: its own, or (interleaved, as released) the one of (row mod batch)"
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Model:
        if self.image_encoder == "compact" and self.image_sizes[-1] < 16:
            raise ValueError(
                f"image_encoder=compact: expected images of at least 16 pixels, got {self.image_sizes[-1]}"
            )
        return self

    @property
    def image_sizes(self) -> list[int]:
        return [self.base_size * 2**i for i in range(self.refinements + 1)]

    @field_validator("base_size")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value not in (8, 16, 32, 64, 128, 256):
            raise ValueError("expected a power of two from 8 to 256")
        return value

    @field_validator("word_dim")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("expected an even number: the LSTM's two directions share it")
        return value
