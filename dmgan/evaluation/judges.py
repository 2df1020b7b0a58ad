"""Who says how well an image matches a caption: encoders of pictures and sentences into one space, by name.

`damsm` are the run's own encoders, which its generator was trained to please: R-precision by them can exceed that of
real images. `judge` are encoders that were trained apart (`evaluate.judge`), and `clip` is a CLIP (`evaluate.clip`);
no generator has seen either.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor

from datasets import storage
from dmgan.config import Config, ConfigError, Evaluate, keys_with, with_values
from dmgan.evaluation.clip import ClipNetwork, clip_sha256
from dmgan.model.folding import keep_folded
from dmgan.pixels import to_unit
from dmgan.runs.run import Run
from dmgan.training.batch import caption_tensors

__all__ = [
    "CLIP",
    "JUDGE",
    "OWN",
    "ClipJudge",
    "DamsmJudge",
    "Judge",
    "encoders_key",
    "encoders_sha256",
    "judge_run",
    "judge_seed",
    "judges_of",
    "judges_sha256",
]

OWN, JUDGE, CLIP = "damsm", "judge", "clip"
_FOLDER = ".judges"  # beside the runs


class Judge(ABC):
    """Encodes the distinct captions it was made with, and images."""

    rounds = False  # whether `quick_codes` are not `codes`

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """D of both codes."""

    @abstractmethod
    def sentences(self, first: int, last: int) -> Tensor:
        """Of the captions [first, last): (last − first, D)."""

    @abstractmethod
    def codes(self, images: Tensor) -> Tensor:
        """Of uint8 images (N, 3, H, W): (N, D)."""

    def quick_codes(self, images: Tensor) -> Tensor:
        """The same, which may be rounded where that is faster."""
        return self.codes(images)


class DamsmJudge(Judge):
    """A run's encoders with their tokenizer; quick codes are of the precision that the evaluation asks for."""

    def __init__(
        self, run: Run, config: Config, captions: Sequence[str], options: Evaluate, device: torch.device
    ) -> None:
        """`config` is the run's own. Raises UnknownWordsError for a caption without a word that its tokenizer knows."""
        self.encoders, self._device = run.load_encoders(config).to(device), device
        self.rounds, self._quick = options.encoder_precision == "bfloat16", self.encoders.image
        if self.rounds:
            self._quick = deepcopy(self.encoders.image)
            keep_folded(self._quick, torch.bfloat16)
        keep_folded(self.encoders)
        self.ids, self.lengths = caption_tensors(captions, run.read_tokenizer(config), options.max_words)

    @property
    def dimensions(self) -> int:
        return self.sentences(0, 1).shape[1]

    @torch.no_grad()
    def sentences(self, first: int, last: int) -> Tensor:
        found: Tensor = self.encoders.text(self.ids[first:last].to(self._device), self.lengths[first:last])[1]
        return found

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        return self.encoders.image.code(to_unit(images))

    @torch.no_grad()
    def quick_codes(self, images: Tensor) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.rounds):
            return self._quick.code(to_unit(images)).float()


class ClipJudge(Judge):
    """A CLIP: sentences and images by its two towers' projections."""

    def __init__(self, folder: str, captions: Sequence[str], device: torch.device) -> None:
        self._network, self._captions = ClipNetwork(folder, device), captions

    @property
    def dimensions(self) -> int:
        return self._network.dimensions

    def sentences(self, first: int, last: int) -> Tensor:
        return self._network.sentences(self._captions[first:last])

    def codes(self, images: Tensor) -> Tensor:
        return self._network.codes(images)


def judges_of(
    config: Config, run: Run, own: DamsmJudge, captions: Sequence[str], device: torch.device
) -> dict[str, Judge]:
    """Those that the configuration asks for, by name; the run's own first. Raises ConfigError, UnknownWordsError."""
    found: dict[str, Judge] = {OWN: own}
    if (judge := judge_run(config, run)) is not None:
        found[JUDGE] = DamsmJudge(judge, judge.read_config(), captions, config.evaluate, device)
    if config.evaluate.clip is not None:
        found[CLIP] = ClipJudge(config.evaluate.clip, captions, device)
    return found


def encoders_key(config: Config) -> str:
    """Runs whose encoders are trained alike have the same: of all keys that pre-training depends on.

    Of the stages' sizes it is the last one, that of the images which the encoder sees.
    """
    stages = ("model.base_size", "model.refinements")
    values = {key: config.value(key) for key in keys_with("encoders") if key not in stages}
    values["pixels"] = config.model.image_sizes[-1]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]


def judge_seed(config: Config) -> int | None:
    """The seed that `evaluate.judge` says; None where it names a run or nothing."""
    judge = config.evaluate.judge
    return int(judge) if judge is not None and judge.isdigit() else None


def judge_run(config: Config, run: Run) -> Run | None:
    """Where the judge's encoders are: the run that is named, or beside the runs those of a seed's training."""
    judge, seed = config.evaluate.judge, judge_seed(config)
    if judge is None:
        return None
    if seed is None:
        return Run(judge)
    chosen = with_values(config, {"train.seed": seed, "pretrain.encoders": None})
    return Run(storage.join(run.url.rstrip("/").rpartition("/")[0], _FOLDER, encoders_key(chosen)))


def encoders_sha256(run: Run) -> str:
    """Of a run's encoders.safetensors. Raises StorageError."""
    return hashlib.sha256(storage.read_bytes(run.path("encoders.safetensors"))).hexdigest()


def judges_sha256(config: Config, run: Run) -> dict[str, str | None]:
    """What the judges besides the run's own are: checksums of their weights; None of one that is not trained yet.

    Raises ConfigError for a judge that is the run's own encoders, which the generator was trained to please.
    """
    found: dict[str, str | None] = {}
    if (judge := judge_run(config, run)) is not None:
        found[JUDGE] = encoders_sha256(judge) if judge.has("encoders.safetensors") else None
        if run.has("encoders.safetensors") and found[JUDGE] == encoders_sha256(run):
            raise ConfigError(
                f"evaluate.judge={config.evaluate.judge}: {judge.url} holds the very encoders that the generator of "
                f"{run.name} was trained with; expected encoders trained apart, such as those of another seed"
            )
    if config.evaluate.clip is not None:
        found[CLIP] = clip_sha256(config.evaluate.clip)
    return found
