"""The configuration as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import yaml
from pydantic import model_validator

from dmgan.config.cluster import Checkpoint, DeepSpeed
from dmgan.config.data import Data
from dmgan.config.evaluation import Evaluate
from dmgan.config.keys import Role, Section
from dmgan.config.model import Model
from dmgan.config.training import Objective, Optimizer, Pretrain, Train
from dmgan.config.tune import Tune

__all__ = ["Config", "keys_with", "known_keys", "sections"]


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

    def value(self, key: str) -> object:
        """The value of section.key."""
        section, name = key.split(".")
        return getattr(getattr(self, section), name)


def sections() -> dict[str, type[Section]]:
    """The sections by name, in order."""
    return {name: field.annotation for name, field in Config.model_fields.items()}  # type: ignore[misc]


def known_keys() -> list[str]:
    """Every key, as section.key."""
    return [f"{name}.{key}" for name, section in sections().items() for key in section.model_fields]


def keys_with(role: Role) -> list[str]:
    """The keys that have a role, as section.key."""
    return list(_with_role(role))


def _with_role(role: Role) -> Iterator[str]:
    for name, section in sections().items():
        yield from (f"{name}.{key}" for key in section.model_fields if role in section.roles(key))
