"""What a job needs besides its dataset, looked at before anything starts."""

from __future__ import annotations

from collections.abc import Set

import torch

from cluster.driver.judging import check_judge
from datasets import storage
from dmgan.architectures import architectures
from dmgan.config import Config, ConfigError, keys_with
from dmgan.evaluation.clip import check_clip
from dmgan.evaluation.features import DAMSM, INCEPTION, check_extractor
from dmgan.evaluation.metrics.fid import read_moments
from dmgan.model.image_encoder import InceptionTrunk
from dmgan.model.text_encoders import check_text_encoder
from dmgan.runs.loggers import loggers
from dmgan.runs.run import Run, read_weights

__all__ = ["TRAINING", "check_fixed", "check_names", "check_weights"]

TRAINING = frozenset(("pretrain", "train"))


def check_names(config: Config) -> None:
    """Names that nothing registered, and settings that do not go with them, are refused before anything starts."""
    check_text_encoder(config)
    architectures.get(config.model.architecture).check(config)
    for name in config.loggers:
        loggers.get(name)


def check_fixed(config: Config, run: Run, stages: Set[str]) -> None:
    """Refuse to go on with a configuration that is not the one the run's weights are of."""
    if not run.has("run.yaml") or not (run.has("encoders.safetensors") or run.has("checkpoints")):
        return
    before = run.read_config()
    for key in keys_with("fixed" if stages & TRAINING else "network"):
        old, new = before.value(key), config.value(key)
        if old != new and old != "":  # an imported run has no dataset yet
            raise ConfigError(
                f"{key}: run {run.name} was started with {old}, not {new}; "
                "go on with its own value, or start another run with --name"
            )


def _check_trunk(where: str, file: str, what: str) -> None:
    """Read the weights now: a wrong or cut file would end the job after it has started its workers."""
    try:
        with torch.device("meta"):
            InceptionTrunk(read_weights(file))
    except (RuntimeError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{where}: not {what}: {reason}") from None


def check_weights(config: Config, run: Run, stages: Set[str]) -> None:
    """Weights that cannot be had here are named at the start rather than after days of training."""
    wanted = []
    trained = config.pretrain.encoders is not None or run.has("encoders.safetensors")
    if "pretrain" in stages and config.model.image_encoder == "inception-v3" and not trained:
        wanted.append(
            (
                "pretrain.inception_weights",
                config.pretrain.inception_weights,
                "torchvision's ImageNet weights of inception_v3 (inception_v3_google-0cc3c7bd.pth)",
                "pretrain.encoders=RUN or model.image_encoder=compact",
            )
        )
    for key, value, what, instead in wanted:
        if value is None:
            raise ConfigError(f"{key}: not set; expected the path of {what}; or set {instead}")
        if not storage.exists(value):
            raise ConfigError(f"{key}={value}: not found; expected {what}")
        _check_trunk(f"{key}={value}", value, what)
    if "evaluate" in stages:
        check_extractor(config.evaluate)
        check_judge(config, run)
        if config.evaluate.clip is not None:
            check_clip(config.evaluate.clip)
        if config.evaluate.real_statistics is not None:
            where = config.evaluate.real_statistics
            dimensions = {DAMSM: config.model.word_dim, INCEPTION: 2048}.get(config.evaluate.features)
            moments = read_moments(where)
            if dimensions is not None:
                moments.check(dimensions, f"evaluate.real_statistics={where}")
