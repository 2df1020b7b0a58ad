"""`tune`: how a sweep searches, stops and ends."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dmgan.config.keys import Natural, Positive, Rate, Role, Section, Seed, key

__all__ = ["Tune"]


class Tune(Section):
    """How a sweep searches, stops and ends."""

    ROLES: ClassVar[tuple[Role, ...]] = ("not searched",)

    trials: Positive = key(16, "configurations tried; grids decide it themselves")
    objective: str = key(
        "fid",
        "what is best: a score of evaluation.json, or pair, the smallest fid_weight·ln FID − (1 − fid_weight)·ln "
        "R-precision",
    )
    fid_weight: Annotated[float, Field(ge=0, le=1)] = key(0.5, "weight of FID in the pair")
    search: Literal["optuna", "random"] | None = key(
        None, "how values are chosen; unset: optuna unless the space has a grid"
    )
    scheduler: Literal["asha", "pbt", "none"] | None = key(
        None,
        "early stopping: asha stops trials that fall behind, pbt lets them go on from a better one with new values; "
        "unset: asha unless the space has a grid",
    )
    first_rung: Positive = key(10000, "steps at which trials are evaluated and compared first")
    reduction: Annotated[int, Field(ge=2)] = key(3, "factor between rungs of asha; one trial in so many goes on")
    concurrent: Natural = key(0, "trials at once; 0: as many as the cluster holds")
    max_gpu_hours: Rate | None = key(None, "GPU hours (on CPUs: core hours) of all trials that end the sweep", "cap")
    max_hours: Rate | None = key(None, "hours since the sweep was last started that end it", "cap")
    seed: Seed = key(0, "seed of the search")
