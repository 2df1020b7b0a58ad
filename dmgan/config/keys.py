"""What a configuration's sections are made of: typed keys, each with its description and its roles."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

__all__ = ["Batch", "Natural", "Positive", "Precision", "Rate", "Role", "Section", "Seed", "Share", "key"]

Positive = Annotated[int, Field(gt=0)]
Batch = Annotated[int, Field(ge=2)]  # batch statistics and mismatches need another image
Natural = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, lt=1)]
Precision = Literal["float32", "bfloat16"]

Role = Literal[
    "network",  # decides what the run's weights are: the same for every command on the run
    "fixed",  # the weights' trajectory depends on it: the same whenever training goes on
    "encoders",  # the encoders' pre-training depends on it
    "scores",  # an evaluation's scores depend on it
    "path",  # a file, folder or s3:// URL, or none
    "not searched",  # a sweep cannot search over it: trials could not be compared, or resumed
    "live",  # may change while a training goes on, as population-based training does
    "cap",  # may change whenever a sweep goes on
]


class Section(BaseModel):
    """Keys of one part of the system. `ROLES` are those that all keys of the section have."""

    model_config = ConfigDict(extra="forbid", validate_default=True, frozen=True)
    ROLES: ClassVar[tuple[Role, ...]] = ()

    @classmethod
    def roles(cls, name: str) -> frozenset[str]:
        """The roles of the section's key `name`."""
        return frozenset((*cls.ROLES, *_declared(cls.model_fields[name])))


def key(default: Any, description: str, *roles: Role) -> Any:
    """A key of a section: its default, what it is (a noun and its unit), and its roles."""
    return Field(default, description=description, json_schema_extra={"roles": list(roles)})


def _declared(field: FieldInfo) -> list[str]:
    extra = field.json_schema_extra
    return list(extra.get("roles", ())) if isinstance(extra, dict) else []  # type: ignore[arg-type]
