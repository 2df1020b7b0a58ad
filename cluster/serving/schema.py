"""What is asked of the service and what it answers, as OpenAPI shows it.

Shapes: T words that the text encoder read, h×w pixels of a refinement's input.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "MEDIA_TYPES",
    "Format",
    "ImagesAnswer",
    "ImagesRequest",
    "ModelCard",
    "ModelsAnswer",
    "Picture",
    "Problem",
    "Reading",
    "Refinement",
    "WordsRequest",
]

Format = Literal["png", "webp", "jpeg"]
MEDIA_TYPES: dict[str, Format] = {"image/png": "png", "image/webp": "webp", "image/jpeg": "jpeg"}
_LARGEST = 2**53 - 1  # which JSON's readers in browsers keep exactly


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImagesRequest(_Asked):
    """Pictures to draw: `count` noises of each caption. The same request gives the same pictures."""

    captions: Annotated[list[str], Field(min_length=1, description="texts to draw, each drawn `count` times")]
    model: Annotated[str | None, Field(description="name of a served run; the first one where it is left out")] = None
    count: Annotated[int, Field(ge=1, description="noises of each caption")] = 1
    number: Annotated[int, Field(ge=0, le=_LARGEST, description="the first noise; the others follow it")] = 0
    seed: Annotated[int, Field(ge=0, le=_LARGEST, description="seed of the noise")] = 0
    truncation: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False, description="limit of the noise: less variety, more typical pictures"),
    ] = None
    format: Annotated[
        Format | None,
        Field(description="of the pictures' files; what `Accept` names, else png. webp is without loss, jpeg is not"),
    ] = None
    details: Annotated[
        bool, Field(description="whether each picture has its earlier stages, and where the memory read each word")
    ] = False


class WordsRequest(_Asked):
    """A caption to read without drawing it."""

    caption: str
    model: Annotated[str | None, Field(description="name of a served run; the first one where it is left out")] = None


class Reading(BaseModel):
    """What the text encoder makes of a caption."""

    words: Annotated[list[str], Field(description="what is read, the first `max_words` of the caption")]
    unknown_words: Annotated[list[str], Field(description="what is not in the vocabulary, and left out")]
    cut: Annotated[int, Field(description="words beyond `max_words`, which are not read")]


class Refinement(BaseModel):
    """What the memory did at a refinement; lists have an entry a word."""

    attention: Annotated[
        str | None,
        Field(
            description="key addressing (the paper's Eq. 4): base64 of a grey PNG, T maps of h×w below one another, "
            "255 where only that word is read"
        ),
    ]
    size: Annotated[tuple[int, int] | None, Field(description="h and w of a map")]
    reading: Annotated[list[float], Field(description="mean over the pixels of what is read from each word; sums to 1")]
    writing_gates: Annotated[
        list[float], Field(description="how far each word was written into the memory, 0 to 1 (the paper's Eq. 7)")
    ]


class Picture(BaseModel):
    """A picture of a caption: noise `number` of `seed`."""

    caption: str
    number: int
    seed: int
    truncation: float | None
    words: Annotated[list[str], Field(description="what the text encoder read")]
    unknown_words: Annotated[list[str], Field(description="words of the caption that it does not know")]
    image: Annotated[str, Field(description="base64 of the file")]
    stages: Annotated[list[str], Field(description="with `details`: base64 of each stage's file, small to large")]
    refinements: Annotated[list[Refinement], Field(description="with `details`: of each stage after the first")]


class ImagesAnswer(BaseModel):
    """The pictures, caption by caption and noise by noise."""

    model: str
    step: Annotated[int, Field(description="training step that the weights are of")]
    media_type: Annotated[str, Field(description="of every file in the answer")]
    images: list[Picture]


class ModelCard(BaseModel):
    """A served run, and what a request to it may ask for."""

    name: str
    step: Annotated[int, Field(description="training step that the weights are of")]
    resolutions: Annotated[list[int], Field(description="pixels a side of each stage's images")]
    max_words: Annotated[int, Field(description="words of a caption that are read")]
    max_images: Annotated[int, Field(description="captions times noises of a request")]
    max_caption_length: Annotated[int, Field(description="characters of a caption")]
    has_vocabulary: Annotated[bool, Field(description="whether it knows whole words, for completions")]


class ModelsAnswer(BaseModel):
    models: list[ModelCard]


class Problem(BaseModel):
    """Why a request is refused, in one line."""

    detail: str
