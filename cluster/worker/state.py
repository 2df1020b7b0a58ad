"""state.json of a checkpoint: where training stood, and what every other file of it must be."""

from __future__ import annotations

import hashlib
import json
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.worker.position import Position
from datasets.documents import first_problem

__all__ = ["CheckpointState", "SavedFile"]


class SavedFile(BaseModel):
    """What a file of a checkpoint must be."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sha256: str
    size: int  # bytes


class CheckpointState(BaseModel):
    """A whole checkpoint of `stage` after `position.step` steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    position: Position
    seed: int  # random draws are functions of it and of the step
    config: dict[str, object]  # the configuration that it was trained with
    files: dict[str, SavedFile] = Field(default={}, description="by name; without any it is no checkpoint")

    @property
    def step(self) -> int:
        return self.position.step

    @property
    def folder(self) -> str:
        """The checkpoint's name; names of one stage sort by step."""
        return f"{self.stage}-{self.step:08d}"

    def to_bytes(self) -> bytes:
        """JSON that carries the SHA-256 of all else in it."""
        content = self.model_dump(mode="json")
        return json.dumps({**content, "sha256": _digest(content)}, indent=1).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Raises ValueError where it is not what `to_bytes` wrote."""
        try:
            content = json.loads(raw)
            if not isinstance(content, dict) or content.pop("sha256", None) != _digest(content):
                raise ValueError("has another checksum than it says")
            state = cls.model_validate(content)
        except ValidationError as error:
            raise ValueError(first_problem(error)) from None
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not state.files:
            raise ValueError("names no files")
        return state


def _digest(content: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
