"""The configuration as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import model_validator

from datasets.documents import dump_yaml
from datasets.registry import import_plugins
from dmgan.config.cluster import Checkpoint, DeepSpeed
from dmgan.config.data import Data
from dmgan.config.evaluation import Evaluate
from dmgan.config.keys import Role, Section, key
from dmgan.config.model import Model
from dmgan.config.serving import Serve
from dmgan.config.text import Text
from dmgan.config.training import Objective, Optimizer, Pretrain, Samples, Train
from dmgan.config.tune import Tune

__all__ = ["Config", "keys_with", "known_keys", "roles_of", "sections"]


class Config(Section):
    """All keys, by section."""

    plugins: tuple[str, ...] = key((), "Python modules whose import registers further names for other keys")
    loggers: tuple[str, ...] = key(("tensorboard",), "what is told of training beside metrics.jsonl: registered names")
    data: Data = Data()
    text: Text = Text()
    model: Model = Model()
    objective: Objective = Objective()
    optimizer: Optimizer = Optimizer()
    pretrain: Pretrain = Pretrain()
    train: Train = Train()
    samples: Samples = Samples()
    checkpoint: Checkpoint = Checkpoint()
    deepspeed: DeepSpeed = DeepSpeed()
    evaluate: Evaluate = Evaluate()
    tune: Tune = Tune()
    serve: Serve = Serve()

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

    @model_validator(mode="after")
    def _compiled_whole(self) -> Config:
        if self.train.compile and self.deepspeed.zero_stage == 3:
            raise ValueError(
                "train.compile=true: expected deepspeed.zero_stage=0, 1 or 2: at 3 weights come and go within a network"
            )
        return self

    def to_yaml(self) -> str:
        return dump_yaml(self.model_dump())

    @model_validator(mode="before")
    @classmethod
    def _registered(cls, tree: Any) -> Any:
        """Import the plugins first: other keys may hold names that they register."""
        modules = tree.get("plugins", ()) if isinstance(tree, dict) else ()
        if isinstance(modules, list | tuple) and all(isinstance(module, str) for module in modules):
            import_plugins(modules)
        return tree

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """A worker that is sent a configuration imports its plugins too."""
        super().__setstate__(state)
        import_plugins(self.plugins)

    def value(self, name: str) -> object:
        """The value of a key, as `known_keys` has them."""
        section, _, leaf = name.rpartition(".")
        return getattr(getattr(self, section) if section else self, leaf)


def sections() -> dict[str, type[Section]]:
    """The sections by name, in order."""
    kinds = {name: field.annotation for name, field in Config.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}


def known_keys() -> list[str]:
    """Every key: those of no section, then the others as section.key."""
    alone = [name for name in Config.model_fields if name not in sections()]
    return alone + [f"{name}.{key}" for name, section in sections().items() for key in section.model_fields]


def keys_with(role: Role) -> list[str]:
    """The keys that have a role, as section.key."""
    return list(_with_role(role))


def roles_of(name: str) -> frozenset[str]:
    """The roles of a key, as `known_keys` has it."""
    section, _, leaf = name.rpartition(".")
    return (sections()[section] if section else Config).roles(leaf)


def _with_role(role: Role) -> Iterator[str]:
    for name, section in sections().items():
        yield from (f"{name}.{key}" for key in section.model_fields if role in section.roles(key))
