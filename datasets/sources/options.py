"""What `datasets.pack --set` sets."""

from __future__ import annotations

import codecs
from typing import Literal

from PIL import ImageColor
from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["PackOptions"]

STORED_PER_RESOLUTION = 76 / 64  # room for the random crop, as in the released code


class PackOptions(BaseModel):
    """What --set sets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resolution: int = Field(256, ge=16, description="pixels a side of the images given to training")
    quality: int = Field(95, ge=1, le=100, description="quality of the stored JPEGs")
    shard_samples: int = Field(1000, gt=0, description="images a shard, at most")
    processes: int = Field(0, ge=0, description="processes that encode; 0: one a core")
    max_rejected: float = Field(0.01, ge=0, le=1, description="share of images, or of captions, that may be left out")
    fit: Literal["crop", "pad", "squash"] = Field("crop", description="how an image that is no square is stored")
    background: str = Field("white", description="colour behind transparent pixels, a name or #rrggbb")
    encoding: str = Field("utf-8", description="encoding of the source's texts without a byte order mark")
    captions: str | None = Field(None, description="name of the table or JSON of captions under SOURCE")
    caption_column: str | None = Field(None, description="column of captions of a table or Parquet file")
    image_column: str | None = Field(None, description="column of images or their names")
    class_folders: bool = Field(
        True, description="imagefolder: sub-folders of images are classes (docs/data.md: what a class is for)"
    )
    test_share: float = Field(0.1, gt=0, lt=1, description="share of test images among those without a split")
    plugins: tuple[str, ...] = Field((), description="Python modules whose import registers further formats")

    @field_validator("background")
    @classmethod
    def _colour(cls, value: str) -> str:
        ImageColor.getrgb(value)  # raises ValueError
        return value

    @field_validator("encoding")
    @classmethod
    def _encoding(cls, value: str) -> str:
        try:
            b"".decode(value)  # of texts: there are codecs of other things
            return codecs.lookup(value).name
        except LookupError:
            raise ValueError("expected the name of an encoding, such as cp1252") from None

    @property
    def stored_size(self) -> int:
        """Pixels of the stored images' shorter side."""
        return round(self.resolution * STORED_PER_RESOLUTION)
