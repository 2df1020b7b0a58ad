"""The configuration: typed, with presets, refused with one line where it is wrong.

`load_config("cub", ["objective.lambda_damsm=50"])` reads a preset or YAML file and applies KEY=VALUE overrides. A file
may name the preset it starts from: `preset: cub`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

__all__ = ["Config", "ConfigError", "known_keys", "load_config", "parse_config", "presets", "suggestion"]

DEFAULT_PRESET = "quickstart"
_PRESETS = Path(__file__).parent / "presets"

Positive = Annotated[int, Field(gt=0)]
Batch = Annotated[int, Field(ge=2)]  # batch statistics and mismatches need another image
Natural = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, lt=1)]


class ConfigError(Exception):
    """A configuration that cannot be used; one line that names the key, its value and what was expected."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True)


class Data(Section):
    url: str = Field("", description="packed dataset: a folder or s3://bucket/path")
    draw_birds: bool = Field(False, description="make and pack the drawn birds at data.url if nothing is there")
    local_s3: bool = Field(False, description="start a local S3 server when AWS_ENDPOINT_URL is not set")
    max_words: Positive = Field(18, description="T, words of a caption used in training")
    loaders: Natural = Field(0, description="processes a worker that decode images; 0: a thread of the worker")
    retries: Positive = Field(8, description="fruitless attempts in a row before a read has failed")
    timeout_seconds: Rate = Field(60.0, description="without an answer before an attempt has failed")
    on_bad_shard: Literal["error", "skip"] = Field(
        "error", description="samples that cannot be read end the run, or are replaced by others and counted"
    )
    cache_dir: str | None = Field(None, description="each node's folder for a cache of shards")
    cache_bytes: Positive = Field(10**10, description="of shards in data.cache_dir; the least recently used leave")


class Model(Section):
    memory: Literal["baseline", "m", "m_wg", "m_wg_rg", "attention"] = Field("m_wg_rg", description="Table 3")
    word_dim: Positive = Field(256, description="N_w")
    image_dim: Positive = Field(64, description="N_r")
    memory_dim: Positive = Field(128, description="N_m")
    condition_dim: Positive = Field(100, description="dimensions of the augmented condition c")
    noise_dim: Positive = Field(100, description="dimensions of the noise z")
    base_size: Positive = Field(64, description="pixels a side of the first stage's images")
    refinements: Natural = Field(2, description="dynamic-memory refinements; each doubles the size")
    residual_blocks: Natural = Field(2, description="a refinement's residual blocks")
    discriminator_width: Positive = Field(
        32, description="channels of each discriminator's first convolution, as released"
    )
    embedding_dim: Positive = Field(300, description="word embedding at the LSTM's input")
    image_encoder: Literal["inception-v3", "compact"] = Field("inception-v3", description="trunk of the image encoder")
    padding_mask: Literal["aligned", "interleaved"] = Field(
        "aligned",
        description="each pixel masked by its own caption; interleaved: by caption (row mod batch), as released",
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
        if value not in (8, 16, 32, 64, 128):
            raise ValueError("expected a power of two from 8 to 128")
        return value

    @field_validator("word_dim")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("expected an even number: the LSTM's two directions share it")
        return value


class Objective(Section):
    lambda_ca: Annotated[float, Field(ge=0)] = Field(1.0, description="λ1, Eq. 10")
    lambda_damsm: Annotated[float, Field(ge=0)] = Field(5.0, description="λ2, Eq. 10")
    gamma1: Rate = Field(4.0, description="DAMSM: sharpness of a word's attention to regions")
    gamma2: Rate = Field(5.0, description="DAMSM: weight of the best matching words")
    gamma3: Rate = Field(10.0, description="DAMSM: sharpness of the softmax over the batch")
    generator_weight: Rate = Field(0.5, description="of each adversarial term of G: ½ in Eq. 11, 1 as released")
    conditioning: Literal["sum", "mean"] = Field(
        "mean", description="the divergence of Eq. 13 is a sum over dimensions; the released code takes their mean"
    )
    mismatched_pairs: bool = Field(
        False, description="released code, not in Eq. 12: D also sees real images with wrong sentences"
    )
    one_forward: bool = Field(
        True,
        description="real and generated images go through D together, so that u and v move once, not twice as released",
    )

    negatives: Literal["global", "local"] = Field(
        "global", description="DAMSM's mismatching captions: of all workers' batches, or of each alone"
    )
    mismatches: Literal["global", "local"] = Field(
        "global", description="mismatched pairs across all workers' batches, or within each alone"
    )


class Optimizer(Section):
    generator_lr: Rate = 0.0002
    discriminator_lr: Rate = 0.0002
    beta1: Share = 0.5
    beta2: Share = 0.999
    ema: Share = Field(0.999, description="decay of the generator's average (the paper does not speak of one)")
    ema_warmup: bool = Field(
        True, description="reach the decay as (1 + step)/(10 + step), so that short runs average too"
    )


class Pretrain(Section):
    epochs: Positive = 600
    max_steps: Positive | None = Field(None, description="stop after this many steps even if epochs are left")
    batch_size: Batch = Field(48, description="per worker")
    lr: Rate = Field(0.002, description="peak learning rate; one cycle over all steps")
    dropout: Share = Field(0.5, description="on word embeddings")
    encoders: str | None = Field(None, description="folder or s3:// of a run whose encoders to use; no pre-training")
    inception_weights: str | None = Field(None, description="torchvision's inception_v3 state dict (.pth)")


class Train(Section):
    batch_size: Batch = Field(10, description="per worker")
    accumulate: Positive = Field(
        1, description="batches a worker computes one after the other for a step, as more workers would at once"
    )
    epochs: Positive = 600
    max_steps: Positive | None = Field(None, description="stop after this many steps even if epochs are left")
    seed: Seed = 0
    workers: Positive = Field(1, description="data-parallel workers")
    min_workers: Natural = Field(
        0, description="go on with as few when nodes are lost, and with more when they are back; 0: wait for all"
    )
    threads: Natural = Field(0, description="CPU threads a worker; 0: torch's default")
    accelerator: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="what each worker gets one of; auto: a GPU where the Ray cluster has any at the start"
    )
    wait_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        300.0, description="for a Ray cluster that is there to have room for the workers: nodes that start or are added"
    )
    max_failures: Natural = Field(3, description="times that Ray starts the workers again after one was lost")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of forward passes; with bfloat16 weights, normalisation and losses stay in float32"
    )
    activation_checkpointing: bool = Field(
        False, description="refinements are computed again in the backward pass rather than kept: less memory"
    )
    batch_statistics: Literal["global", "local"] = Field(
        "global", description="BatchNorm's moments over the batches of all workers, or of each alone (faster)"
    )
    log_every: Positive = Field(50, description="steps between lines of metrics.jsonl")
    sample_every: Positive = Field(1000, description="steps between sample images")

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


class Checkpoint(Section):
    every_steps: Positive = 1000
    keep: Positive = 3
    grace_seconds: Rate = Field(60.0, description="to write a checkpoint after SIGTERM or Ctrl-C")


class DeepSpeed(Section):
    zero_stage: Literal[0, 1, 2, 3] = 1


class Evaluate(Section):
    enabled: bool = True
    protocol: Literal["paper", "quick"] = Field("paper", description="the numbers that are not set: dmgan/protocol.py")
    images: Annotated[int, Field(ge=2)] | None = Field(None, description="generated from unseen test captions")
    distractors: Positive | None = Field(None, description="R-precision: mismatching captions an image")
    folds: Positive | None = Field(None, description="R-precision: parts whose mean and deviation are given")
    splits: Positive | None = Field(None, description="IS: parts whose mean and deviation are given")
    batch_size: Positive = 50
    features: str = Field(
        "inception-v3", description="extractor of IS and FID; damsm: the run's own; or registered with torch-fidelity"
    )
    features_module: str | None = Field(None, description="Python module to import, which registers the extractor")
    features_weights: str | None = Field(None, description="of the extractor: a path or s3://")
    features_classes: Positive = Field(1008, description="inception-v3: outputs of its last layer in the weights file")
    real_statistics: str | None = Field(None, description=".npz with mu and sigma of real images, instead of the split")
    kid: bool = Field(False, description="also the kernel inception distance; gathers all features")
    precision_recall: bool = Field(False, description="also precision and recall; gathers all features")
    weights: Literal["ema", "raw"] = Field("ema", description="the generator's average, or its weights as trained")
    max_words: Positive = Field(25, description="T, words of a caption used in evaluation")
    seed: Seed = 0

    @model_validator(mode="after")
    def _features_of_real_images(self) -> Evaluate:
        if self.real_statistics is not None and (self.kid or self.precision_recall):
            key = "kid" if self.kid else "precision_recall"
            raise ValueError(
                f"{key}=true: needs the features of real images, evaluate.real_statistics holds moments only"
            )
        return self


class Tune(Section):
    trials: Positive = Field(16, description="configurations tried; grids decide it themselves")
    objective: Literal["fid", "r_precision", "pair"] = Field(
        "fid", description="what is best; pair: fid_weight·ln FID − (1 − fid_weight)·ln R-precision, at a minimum"
    )
    fid_weight: Annotated[float, Field(ge=0, le=1)] = Field(0.5, description="of the pair")
    search: Literal["optuna", "random"] | None = Field(
        None, description="how values are chosen: optuna unless the space has a grid"
    )
    scheduler: Literal["asha", "pbt", "none"] | None = Field(
        None,
        description="asha stops what falls behind, pbt lets it go on from a better trial with changed values; "
        "unset: asha unless the space has a grid",
    )
    first_rung: Positive = Field(10000, description="steps at which trials are evaluated and compared first")
    reduction: Annotated[int, Field(ge=2)] = Field(
        3, description="asha: rungs are so many times apart, 1 in so many stays"
    )
    concurrent: Natural = Field(0, description="trials at once; 0: as many as the cluster holds")
    max_gpu_hours: Rate | None = Field(
        None, description="end the sweep when its trials have used so much; CPU: of cores"
    )
    max_hours: Rate | None = Field(None, description="end the sweep after so much time since it was last started")
    seed: Seed = Field(0, description="of the search")


class Config(Section):
    """All keys, by section."""

    data: Data = Data()
    model: Model = Model()
    objective: Objective = Objective()
    optimizer: Optimizer = Optimizer()
    pretrain: Pretrain = Pretrain()
    train: Train = Train()
    checkpoint: Checkpoint = Checkpoint()
    deepspeed: DeepSpeed = DeepSpeed()
    evaluate: Evaluate = Evaluate()
    tune: Tune = Tune()

    @model_validator(mode="after")
    def _parts_are_workers(self) -> Config:
        wanted = {
            "train.batch_statistics": self.train.batch_statistics,
            "objective.negatives": self.objective.negatives,
            "objective.mismatches": self.objective.mismatches,
        }
        spanning = [key for key, over in wanted.items() if over == "global"]
        if self.train.accumulate > 1 and spanning:
            raise ValueError(
                f"train.accumulate={self.train.accumulate}: expected {spanning[0]}=local: what spans the batch of all "
                "workers cannot be computed in parts"
            )
        return self

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)


def presets() -> list[str]:
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def load_config(name_or_path: str | Path | Config | None = None, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a preset, a YAML file (a path or s3://) or another one, with KEY=VALUE overrides.

    Raises ConfigError.
    """
    tree = name_or_path.model_dump() if isinstance(name_or_path, Config) else _read(name_or_path or DEFAULT_PRESET)
    for assignment in overrides:
        key, separator, value = assignment.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {assignment}: expected KEY=VALUE, such as objective.lambda_damsm=50")
        if key not in known_keys() and key not in Config.model_fields:
            raise ConfigError(f"{key}: unknown key{suggestion(key)}")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"{key}={value}: not a YAML value") from error
        _assign(tree, key, parsed)
    return parse_config(tree)


def parse_config(tree: Any) -> Config:
    """The configuration of parsed YAML. Raises ConfigError."""
    if not isinstance(tree, dict):
        raise ConfigError(f"expected sections such as 'train:', found {type(tree).__name__}")
    for key in _unknown_keys(tree):
        raise ConfigError(f"{key}: unknown key{suggestion(key)}")
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_first_line(error)) from error


def _read(name_or_path: str | Path, depth: int = 0) -> dict[str, Any]:
    if not isinstance(name_or_path, str | Path):
        raise ConfigError(f"preset: expected a name or a file, found {name_or_path!r}")
    if depth > 10:
        raise ConfigError(f"preset: {name_or_path}: presets start from one another without end")
    path = _PRESETS / f"{name_or_path}.yaml"
    if not path.exists():
        path = Path(name_or_path)
        if "://" not in str(name_or_path) and not path.is_file():
            raise ConfigError(f"--config {name_or_path}: neither a preset ({', '.join(presets())}) nor a file")
    try:
        tree = yaml.safe_load(_remote(str(name_or_path)) if "://" in str(name_or_path) else path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections such as 'train:', found {type(tree).__name__}")
    base = tree.pop("preset", None)
    return _merge(_read(base, depth + 1), tree) if base is not None else tree


def _remote(url: str) -> str:
    from datasets import storage  # with it comes what reaches buckets, which few configurations need

    return storage.read_bytes(url).decode()


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _assign(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, leaf = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{key}: {section} is a value, not a section")
    tree[leaf] = value


def known_keys() -> list[str]:
    """Every key, as section.key."""
    return [f"{s}.{k}" for s, v in Config.model_fields.items() for k in v.annotation.model_fields]  # type: ignore[union-attr]


def _unknown_keys(tree: dict[str, Any]) -> Iterator[str]:
    known = known_keys()
    sections = set(Config.model_fields)
    for section, values in tree.items():
        if section not in sections:
            yield str(section)
        elif isinstance(values, dict):
            yield from (f"{section}.{key}" for key in values if f"{section}.{key}" not in known)


def suggestion(key: str) -> str:
    """What an unknown key was perhaps to be, to end a message with."""
    known = known_keys()
    by_leaf = [k for k in known if k.split(".")[1] == key.split(".")[-1]]
    near = by_leaf or difflib.get_close_matches(key, [*known, *Config.model_fields], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error" and isinstance(first["input"], dict):  # of a section as a whole
        return f"{key}.{message}"
    expected = message[0].lower() + message[1:]
    return f"{key}={first['input']!r}: {expected}"
