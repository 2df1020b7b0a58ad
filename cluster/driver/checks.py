"""What a job needs besides its dataset, looked at before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set

import torch

from cluster.driver.judging import check_judge
from datasets import storage
from datasets.errors import UserError, short_reason
from dmgan.architectures import architectures
from dmgan.config import Config, ConfigError, keys_with
from dmgan.evaluation.clip import check_clip
from dmgan.evaluation.features import DAMSM, INCEPTION, check_extractor
from dmgan.evaluation.metrics.fid import read_moments
from dmgan.model.image_encoder import InceptionTrunk
from dmgan.model.text_encoders import check_text_encoder
from dmgan.runs.loggers import loggers
from dmgan.runs.run import Run, read_weights

__all__ = ["TRAINING", "changed_keys", "logger_problems", "name_problems", "problem", "weights_problems"]

TRAINING = frozenset(("pretrain", "train"))
_TRUNK = "torchvision's ImageNet weights of inception_v3 (inception_v3_google-0cc3c7bd.pth)"


def problem(look: Callable[[], object]) -> Iterator[UserError]:
    """What `look` raises for people."""
    try:
        look()
    except UserError as error:
        yield error


def name_problems(config: Config) -> Iterator[UserError]:
    """Names of networks that nothing registered, and settings that do not go with them."""
    yield from problem(lambda: check_text_encoder(config))
    yield from problem(lambda: architectures.get(config.model.architecture).check(config))


def logger_problems(config: Config, run: Run) -> Iterator[UserError]:
    """Loggers that nothing registered, or that cannot work here."""
    for name in config.loggers:
        yield from problem(lambda name=name: loggers.get(name).check(run))  # type: ignore[misc]


def changed_keys(config: Config, run: Run, stages: Set[str]) -> Iterator[UserError]:
    """Keys whose values are not those that the run's weights are of."""
    try:
        if not run.has("run.yaml") or not (run.has("encoders.safetensors") or run.has("checkpoints")):
            return
        before = run.read_config()
    except UserError as error:
        yield error
        return
    for key in keys_with("fixed" if stages & TRAINING else "network"):
        old, new = before.value(key), config.value(key)
        if old != new and old != "":  # an imported run has no dataset yet
            yield ConfigError(
                f"{key}: run {run.name} was started with {old}, not {new}; "
                "go on with its own value, or start another run with --name"
            )


def weights_problems(config: Config, run: Run, stages: Set[str]) -> Iterator[UserError]:
    """Weights that cannot be had here are named at the start rather than after days of training."""
    if "pretrain" in stages:
        yield from problem(lambda: _check_encoders(config, run))
    if "evaluate" in stages:
        yield from problem(lambda: check_extractor(config.evaluate))
        yield from problem(lambda: check_judge(config, run))
        if (clip := config.evaluate.clip) is not None:
            yield from problem(lambda: check_clip(clip))
        yield from problem(lambda: _check_statistics(config))


def _check_encoders(config: Config, run: Run) -> None:
    """The encoders that are taken over, or what they are trained from."""
    if run.has("encoders.safetensors"):
        return
    if (origin := config.pretrain.encoders) is not None:
        for name in ("vocabulary.json", "encoders.safetensors"):
            if not storage.exists(storage.join(origin, name)):
                raise ConfigError(f"pretrain.encoders={origin}: {name} not found; expected a run with encoders")
    elif config.model.image_encoder == "inception-v3":
        _check_trunk(config.pretrain.inception_weights)


def _check_trunk(file: str | None) -> None:
    """Read the weights now: a wrong or cut file would end the job after it has started its workers."""
    key = "pretrain.inception_weights"
    if file is None:
        instead = "pretrain.encoders=RUN or model.image_encoder=compact"
        raise ConfigError(f"{key}: not set; expected the path of {_TRUNK}; or set {instead}")
    if not storage.exists(file):
        raise ConfigError(f"{key}={file}: not found; expected {_TRUNK}")
    try:
        with torch.device("meta"):
            InceptionTrunk(read_weights(file))
    except (RuntimeError, KeyError, ValueError) as error:
        reason = short_reason(error, 200)
        raise ConfigError(f"{key}={file}: not {_TRUNK}: {reason}") from None


def _check_statistics(config: Config) -> None:
    if (where := config.evaluate.real_statistics) is None:
        return
    dimensions = {DAMSM: config.model.word_dim, INCEPTION: 2048}.get(config.evaluate.features)
    moments = read_moments(where)
    if dimensions is not None:
        moments.check(dimensions, f"evaluate.real_statistics={where}")
