"""`evaluate`: the protocol of scores and how they are computed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from dmgan.config.keys import Positive, Precision, Role, Section, Seed, key

__all__ = ["Evaluate"]


class Evaluate(Section):
    """The protocol of scores and how they are computed."""

    ROLES: ClassVar[tuple[Role, ...]] = ("not searched",)

    enabled: bool = key(True, "whether training ends with an evaluation")
    protocol: Literal["paper", "quick"] = key(
        "paper", "preset for the evaluation settings left unset below (dmgan/evaluation/protocol.py)", "scores"
    )
    images: Annotated[int, Field(ge=2)] | None = key(None, "images generated from test captions", "scores")
    distractors: Positive | None = key(
        None,
        "mismatching captions, of other classes, an image for R-precision; unset: the protocol's 99, or as many as the "
        "test split has where it has fewer, which evaluation.json says",
        "scores",
    )
    folds: Positive | None = key(None, "parts of which R-precision's mean and deviation are given", "scores")
    splits: Positive | None = key(None, "parts of which IS's mean and deviation are given", "scores")
    batch_size: Positive = key(50, "images of a batch")
    features: str = key(
        "inception-v3",
        "extractor of IS and FID: inception-v3; damsm, the run's own; or one registered with torch-fidelity",
        "scores",
    )
    features_module: str | None = key(None, "Python module whose import registers the extractor", "scores")
    features_weights: str | None = key(None, "weights of the extractor: a path or s3://", "scores", "path")
    features_classes: Positive = key(1008, "outputs of the last layer in the weights file of inception-v3", "scores")
    real_statistics: str | None = key(
        None, "file (.npz) with mu and sigma of real images, in place of the test split", "scores", "path"
    )
    kid: bool = key(False, "whether the kernel inception distance is computed, which gathers all features", "scores")
    precision_recall: bool = key(
        False, "whether precision and recall are computed, which gathers all features", "scores"
    )
    judge: str | None = key(
        None,
        "encoders trained apart that R-precision is taken by as well: a run's folder or s3://, or the seed to train "
        "them with",
        "path",
    )
    clip: str | None = key(
        None, "folder or s3:// of a CLIP in Hugging Face's format, for its score and R-precision", "path"
    )
    encoder_precision: Precision = key(
        "float32",
        "number format in which DAMSM's image encoders code images for R-precision; with bfloat16 close comparisons "
        "are decided in float32; not allowed with features=damsm, where FID is on these codes",
        "scores",
    )
    weights: Literal["ema", "raw"] = key("ema", "weights scored: the generator's average, or as trained", "scores")
    max_words: Positive = key(25, "T, tokens of a caption in evaluation: of a longer one the first are kept", "scores")
    seed: Seed = key(0, "seed of captions, noise and distractors", "scores")

    @field_validator("judge", mode="before")
    @classmethod
    def _seed_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _exact_features(self) -> Evaluate:
        if self.encoder_precision != "float32" and self.features == "damsm":
            raise ValueError(
                f"encoder_precision={self.encoder_precision}: expected float32 with evaluate.features=damsm, where FID "
                "is on the image encoder's codes"
            )
        return self

    @model_validator(mode="after")
    def _features_of_real_images(self) -> Evaluate:
        if self.real_statistics is not None and (self.kid or self.precision_recall):
            name = "kid" if self.kid else "precision_recall"
            raise ValueError(
                f"{name}=true: needs the features of real images, evaluate.real_statistics holds moments only"
            )
        return self
