"""A sweep's part of Ray Tune: which trial is whose, the search, the scheduler, what stops trials."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING

import ray

from cluster.driver.resources import ClusterError
from cluster.placement import uses_gpus
from dmgan.config import Config
from dmgan.runs.run import Run
from tune.results import FAILED, LEFT, RUNNING, STOPPED, Trial, load_trial, load_trials
from tune.space import Space, scheduler_of
from tune.state import Budget

if TYPE_CHECKING:  # with it comes what a command line does not need
    from ray.tune import Callback, Stopper
    from ray.tune.experiment import Trial as TuneTrial
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import SearchAlgorithm, Searcher

__all__ = ["SPARE_CPUS", "TrialNames", "marks", "note_end", "scheduler", "search_of", "stopper"]

SPARE_CPUS = 1  # for the trials themselves, beside their workers


class TrialNames:
    """Knows how to reach storage, in memory alone (what Tune is given it writes to storage), and who is which trial.

    trial.json is the truth of a sweep; Tune begins anew at each start, with what there is left to do.
    """

    def __init__(self, sweep: Run, variables: dict[str, str]) -> None:
        os.environ.update(variables)
        self._sweep, self._variables = sweep, variables
        self._names: dict[str, str] = {}  # Tune's → ours

    def environment(self) -> dict[str, str]:
        return self._variables

    def claim(self, tune_id: str, values: dict[str, object]) -> str:
        """The trial that Tune's is: one with these values that nobody goes on with, or else a new one."""
        if tune_id not in self._names:
            known = load_trials(self._sweep)
            taken = set(self._names.values())
            free = [t for t in known if t.is_open and t.values == values and t.id not in taken]
            number = f"{len(known) + 1:03d}"
            trial = free[0] if free else Trial(id=number, planned=values, values=values, started=time.time())
            if not free:
                trial.save(self._sweep)
            self._names[tune_id] = trial.id
        return self._names[tune_id]

    def name(self, tune_id: str) -> str | None:
        return self._names.get(tune_id)


def search_of(
    config: Config, space: Space, known: list[Trial], left: int
) -> tuple[Searcher | SearchAlgorithm, dict[str, object]]:
    """The search algorithm with what is known, and the space for Tune where the algorithm has none of its own."""
    options, again = config.tune, [trial.values for trial in known if trial.is_open]
    if not space.has_grid and options.search != "random" and options.scheduler != "pbt":
        from optuna.samplers import TPESampler
        from ray.tune.search import ConcurrencyLimiter
        from ray.tune.search.optuna import OptunaSearch

        search = OptunaSearch(
            {parameter.key: parameter.distribution() for parameter in space.parameters},
            metric="score",
            mode="min",
            points_to_evaluate=again or None,
            # A sampler that began anew would draw the same first values again.
            sampler=TPESampler(seed=options.seed + len(known)),
        )
        for trial in known:
            if not trial.is_open:
                search.add_evaluated_point(trial.values, trial.score, error=trial.score is None)
        return ConcurrencyLimiter(search, max_concurrent=_concurrent(config)), {}
    from ray.tune.search.basic_variant import BasicVariantGenerator

    points = space.plan(options.trials, options.seed)
    for trial in known:
        points.remove(trial.planned)
    points = [*again, *points]
    assert len(points) == left
    # The points say everything; Tune wants to know the keys.
    domains = {parameter.key: parameter.sampled() for parameter in space.parameters}
    at_once = 0 if options.scheduler == "pbt" else _concurrent(config)
    return BasicVariantGenerator(points_to_evaluate=points, max_concurrent=at_once), domains


def scheduler(config: Config, space: Space, known: list[Trial], stages: list[int]) -> TrialScheduler:
    """What stops trials or has them learn from one another; `stages` are the rungs' steps. Raises ClusterError."""
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining

    options, kind = config.tune, scheduler_of(space, config.tune)
    rules: dict[str, str] = {"time_attr": "step", "metric": "score", "mode": "min"}
    if kind == "asha" and len(stages) > 1:
        asha = ASHAScheduler(
            **rules, max_t=stages[-1], grace_period=options.first_rung, reduction_factor=options.reduction
        )
        for trial in known:  # what trials had scored before this start counts for those that come
            stand_in = SimpleNamespace(trial_id=f"before-{trial.id}")
            asha.on_trial_add(None, stand_in)
            for rung in trial.rungs:
                asha.on_trial_result(None, stand_in, {"step": rung.step, "score": rung.score})
        return asha
    if kind != "pbt":
        return FIFOScheduler()
    population = space.trials(options.trials)
    if _concurrent(config) < population:
        raise ClusterError(
            f"tune.trials={population}: tune.scheduler=pbt trains all trials at once, the cluster holds "
            f"{_concurrent(config)}"
        )

    def within(values: Mapping[str, object]) -> dict[str, object]:
        return {parameter.key: parameter.nearest(values[parameter.key]) for parameter in space.parameters}

    mutations = {p.key: list(p.values) if p.kind == "choice" else p.domain() for p in space.parameters}
    return PopulationBasedTraining(
        **rules,
        perturbation_interval=options.first_rung,
        hyperparam_mutations=mutations,
        custom_explore_fn=within,
        require_attrs=False,
    )


def _concurrent(config: Config) -> int:
    """Trials at once: each needs all its workers, and a little for itself. Raises ClusterError."""
    resources, workers = ray.cluster_resources(), config.train.workers
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    hold = (min(cpus - SPARE_CPUS, gpus) if uses_gpus(config) else cpus - SPARE_CPUS) // workers
    if hold < 1:
        raise ClusterError(
            f"train.workers={workers}: a trial needs a CPU beside those of its workers, the Ray cluster has {cpus}"
        )
    return min(hold, config.tune.concurrent) if config.tune.concurrent else hold


def stopper(budget: Budget) -> Stopper:
    """Ends the sweep when what it may cost is used up."""
    from ray import tune

    class Spent(tune.Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: Mapping[str, object]) -> bool:
            return False

        def stop_all(self) -> bool:
            return bool(budget.spent())

    return Spent()


def marks(sweep: Run, names: ray.actor.ActorHandle, budget: Budget) -> Callback:
    """Notes in trial.json what the trial itself cannot: that it was stopped, or lost."""
    from ray import tune

    class Marks(tune.Callback):  # type: ignore[misc]
        def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
            if budget.spent():
                self._mark(trial, LEFT, budget.spent())
            else:
                self._mark(trial, STOPPED, "others were better at this rung")

        def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
            self._mark(trial, FAILED, "its process was lost")

        def _mark(self, trial: TuneTrial, state: str, reason: str) -> None:
            name = ray.get(names.name.remote(trial.trial_id))
            if name is not None:
                note_end(sweep, name, state, reason)

    return Marks()


def note_end(sweep: Run, trial_id: str, state: str, reason: str) -> None:
    """Note in trial.json how a trial ended of which it says that it is running."""
    found = load_trial(sweep, trial_id)
    if found is not None and found.state == RUNNING:
        found.work_ended()
        found.state, found.reason = state, reason
        found.save(sweep)
