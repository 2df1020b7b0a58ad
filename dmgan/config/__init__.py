"""The configuration: typed sections, each key with its description and roles; presets; reading and refusing.

One file a section or two, named for the room it configures (`model.py`, `training.py`, `evaluation.py`, …).
"""

from dmgan.config.cluster import Checkpoint, DeepSpeed
from dmgan.config.data import Data
from dmgan.config.evaluation import Evaluate
from dmgan.config.load import (
    AUTO,
    ConfigError,
    SourcedConfig,
    absolute_paths,
    load_chosen,
    load_config,
    load_sourced,
    parse_config,
    presets,
    suggestion,
    with_values,
)
from dmgan.config.model import Model
from dmgan.config.schema import Config, keys_with, known_keys
from dmgan.config.serving import Serve
from dmgan.config.text import Text
from dmgan.config.training import Objective, Optimizer, Pretrain, Samples, Train
from dmgan.config.tune import Tune

__all__ = [
    "AUTO",
    "Checkpoint",
    "Config",
    "ConfigError",
    "Data",
    "DeepSpeed",
    "Evaluate",
    "Model",
    "Objective",
    "Optimizer",
    "Pretrain",
    "Samples",
    "Serve",
    "SourcedConfig",
    "Text",
    "Train",
    "Tune",
    "absolute_paths",
    "keys_with",
    "known_keys",
    "load_chosen",
    "load_config",
    "load_sourced",
    "parse_config",
    "presets",
    "suggestion",
    "with_values",
]
