"""`objective`, `optimizer`, `pretrain`, `train`: what is minimised, how, and for how long."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from dmgan.config.keys import Batch, Natural, Positive, Precision, Rate, Role, Section, Seed, Share, key

__all__ = ["Objective", "Optimizer", "Pretrain", "Samples", "Train"]

MOST_SAMPLES = 64  # rows of the picture
Weight = Annotated[float, Field(ge=0)]


class Objective(Section):
    """What is minimised: Eq. 10 to 13, and how the released code departs from them."""

    ROLES: ClassVar[tuple[Role, ...]] = ("fixed",)

    lambda_ca: Weight = key(1.0, "λ1, weight of conditioning augmentation in Eq. 10", "live")
    lambda_damsm: Weight = key(5.0, "λ2, weight of DAMSM in Eq. 10", "live")
    gamma1: Rate = key(4.0, "γ1 of DAMSM, sharpness of a word's attention to regions", "encoders")
    gamma2: Rate = key(5.0, "γ2 of DAMSM, weight of the best matching words", "encoders")
    gamma3: Rate = key(10.0, "γ3 of DAMSM, sharpness of the softmax over the batch", "encoders")
    generator_weight: Rate = key(0.5, "weight of each adversarial term of G: ½ in Eq. 11, 1 as released")
    conditioning: Literal["sum", "mean"] = key(
        "mean", "reduction of Eq. 13 over dimensions: the divergence is their sum, the released code takes the mean"
    )
    mismatched_pairs: bool = key(
        False, "whether D also sees real images with wrong sentences, of whatever class, as released (not in Eq. 12)"
    )
    one_forward: bool = key(
        True,
        "whether real and generated images go through D together, so that u and v move once, not twice as released",
    )
    smaller_images: Literal["average", "bilinear"] = key(
        "average", "filter that makes real images smaller: mean of pixels, or Pillow's bilinear one as released"
    )
    negatives: Literal["global", "local"] = key(
        "global",
        "DAMSM's mismatching captions, those of other classes: of all workers' batches, or of each alone",
        "encoders",
    )
    mismatches: Literal["global", "local"] = key(
        "global", "mismatched pairs: across all workers' batches, or within each alone"
    )


class Optimizer(Section):
    """Adam, and the generator's moving average."""

    ROLES: ClassVar[tuple[Role, ...]] = ("fixed", "live")

    generator_lr: Rate = key(0.0002, "learning rate of the generator")
    discriminator_lr: Rate = key(0.0002, "learning rate of the discriminators")
    beta1: Share = key(0.5, "β1 of Adam, in pre-training too", "encoders")
    beta2: Share = key(0.999, "β2 of Adam, in pre-training too", "encoders")
    ema: Share = key(0.999, "decay of the generator's average (the paper does not speak of one)")
    ema_warmup: bool = key(
        True, "whether the decay is reached as (1 + step)/(10 + step), so that short runs average too"
    )


class Pretrain(Section):
    """How long and how the encoders (DAMSM) are trained."""

    ROLES: ClassVar[tuple[Role, ...]] = ("encoders",)

    epochs: Positive = key(600, "epochs at the most", "fixed")
    max_steps: Positive | None = key(None, "steps at the most", "fixed")
    batch_size: Batch = key(48, "images of a worker's batch")
    lr: Rate = key(0.002, "peak learning rate of one cycle over all steps", "fixed")
    dropout: Share = key(0.5, "dropout of word embeddings", "fixed")
    encoders: str | None = key(
        None, "run whose encoders are used in place of pre-training: a folder or s3://", "path", "not searched"
    )
    inception_weights: str | None = key(None, "torchvision's inception_v3 state dict (.pth)", "path")


class Train(Section):
    """How long and how the GAN is trained, on how many workers."""

    batch_size: Batch = key(10, "images of a worker's batch")
    accumulate: Positive = key(
        1, "batches a worker computes one after the other for a step, as more workers would at once", "encoders"
    )
    epochs: Positive = key(600, "epochs at the most", "not searched")
    max_steps: Positive | None = key(None, "steps at the most", "not searched")
    seed: Seed = key(0, "seed of weights, noise, order and augmentation, in pre-training too", "fixed", "encoders")
    workers: Positive = key(1, "data-parallel workers", "not searched")
    min_workers: Natural = key(
        0, "workers to go on with when nodes are lost, until they are back; 0: all", "not searched"
    )
    threads: Natural = key(0, "CPU threads of a worker; 0: torch's default")
    accelerator: Literal["auto", "cpu", "gpu"] = key(
        "auto", "what each worker gets one of; auto: a GPU where the Ray cluster has any at the start"
    )
    wait_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = key(
        300.0, "seconds to wait for nodes of a Ray cluster that start or are added"
    )
    max_failures: Natural = key(3, "times that Ray starts the workers again after one was lost")
    precision: Precision = key(
        "float32",
        "number format of forward passes; with bfloat16 weights, normalisation and losses stay in float32",
        "fixed",
        "encoders",
    )
    activation_checkpointing: bool = key(
        False, "whether refinements are computed again in the backward pass rather than kept, which takes less memory"
    )
    compile: bool = key(
        False, "whether torch.compile fuses operations of generator, discriminators and image encoder; not at ZeRO 3"
    )
    tf32: bool = key(
        True, "whether float32 products on a GPU are of TensorFloat-32: 10 bits of mantissa in place of 23, and fast"
    )
    batch_statistics: Literal["global", "local"] = key(
        "global", "BatchNorm's moments: over the batches of all workers, or of each alone (faster)", "fixed", "encoders"
    )
    log_every: Positive = key(50, "steps between lines of metrics.jsonl")
    sample_every: Positive = key(1000, "steps between sample images")

    @model_validator(mode="after")
    def _fewer_than_all(self) -> Train:
        if self.min_workers > self.workers:
            raise ValueError(f"min_workers={self.min_workers}: expected at most train.workers={self.workers}")
        return self

    @property
    def fewest_workers(self) -> int:
        return self.min_workers or self.workers

    @property
    def images_a_step(self) -> int:
        """Of one worker."""
        return self.batch_size * self.accumulate


class Samples(Section):
    """The fixed captions that pictures are drawn of while the GAN trains, and in the report."""

    captions: tuple[str, ...] | str | None = key(
        None,
        "captions, a list, or a file of one a line that the start of the run reads; unset: of some classes of the "
        "test split",
        "path",
        "not searched",
    )

    @field_validator("captions")
    @classmethod
    def _some(cls, value: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
        if isinstance(value, tuple) and not 1 <= len(value) <= MOST_SAMPLES:
            raise ValueError(f"expected 1 to {MOST_SAMPLES} captions")
        if isinstance(value, tuple) and not all(caption.strip() for caption in value):
            raise ValueError("expected no empty caption")
        return value
