"""The sweep: Ray Tune over runs, resumed by name, ended by a cap on its cost, with a report."""

from __future__ import annotations

import os
import time
from itertools import product
from types import SimpleNamespace
from typing import Any

import ray

from cluster.driver import stages
from cluster.driver.resources import ClusterError
from cluster.placement import uses_gpus
from cluster.worker.planned import planned_steps
from datasets import storage
from datasets.manifest import load_manifest
from datasets.storage.environment import storage_environment
from dmgan.config import Config, ConfigError, keys_with, known_keys
from dmgan.runs.run import Run
from dmgan.runs.samples import sample_captions
from tune.report.page import write_report
from tune.results import (
    FAILED,
    FINISHED,
    LEFT,
    RUNNING,
    STOPPED,
    Trial,
    check_objective,
    load_trial,
    load_trials,
    rungs,
)
from tune.space import Space, scheduler_of
from tune.trial import encoders_key, run_trial, trial_config

__all__ = ["run_sweep"]

SPARE_CPUS = 1  # for the trials themselves, beside their workers
_BUDGET_SECONDS = 5.0  # between looks at what has been used


class _Registry:
    """Knows how to reach storage, in memory alone (what Tune is given it writes to storage), and who is which trial.

    trial.json is the truth of a sweep; Tune begins anew at each start, with what there is left to do.
    """

    def __init__(self, sweep: Run, variables: dict[str, str]) -> None:
        os.environ.update(variables)
        self._sweep, self._variables = sweep, variables
        self._names: dict[str, str] = {}  # Tune's → ours

    def environment(self) -> dict[str, str]:
        return self._variables

    def claim(self, tune_id: str, values: dict[str, Any]) -> str:
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


def run_sweep(config: Config, space: Space, sweep: Run) -> None:
    """Run the sweep, or what is left of it, and write its report.

    Raises ConfigError where the sweep was started with another space or configuration.
    """
    check_objective(config.tune)
    state = _begin(config, space, sweep)
    if state["state"] == FINISHED:
        print(f"sweep {sweep.name} is complete, nothing to do: {write_report(sweep)}")
        return
    with stages.prepared(config, sweep, {"pretrain", "train", "evaluate"}, spare_cpus=SPARE_CPUS, dashboard=True):
        caps = {"max_hours": config.tune.max_hours, "max_gpu_hours": config.tune.max_gpu_hours}
        state["caps"] = caps | {"since": time.time()}
        state["captions"] = sample_captions(config.data.url)
        sweep.write_json("sweep.json", state)
        steps = planned_steps(config, "train", load_manifest(config.data.url)[0])
        if dashboard := _dashboard():
            print(f"      Ray dashboard at {dashboard}", flush=True)
        _encoders(config, space, sweep)
        ended = _tune(config, space, sweep, steps)
        state["state"] = ended
        sweep.write_json("sweep.json", state)
    print(f"sweep {sweep.name}: {ended}; report: {write_report(sweep)}", flush=True)


def _begin(config: Config, space: Space, sweep: Run) -> dict[str, Any]:
    """sweep.json as it is, or for a new sweep. Raises ConfigError if it is of another."""
    now = {
        "space": space.to_dict(),
        "trials": space.trials(config.tune.trials),
        "objective": config.tune.objective,
        "state": RUNNING,
        "started": time.time(),
    }
    if sweep.has("generator.json"):
        raise ConfigError(f"{sweep.url}: holds a run; choose another --name for the sweep")
    if not sweep.has("sweep.json"):
        return now
    before = sweep.read_json("sweep.json")
    for key in ("space", "trials"):
        if before[key] != now[key]:
            raise ConfigError(
                f"{sweep.path('sweep.json')}: the sweep was started with {key} {before[key]}, not {now[key]}; go on "
                "with them, or start another sweep with --name"
            )
    begun = sweep.read_config()
    for key in known_keys():
        if key not in keys_with("cap") and begun.value(key) != config.value(key):
            raise ConfigError(
                f"{key}: the sweep was started with {begun.value(key)}, not {config.value(key)}; go on with its own "
                "value, or start another sweep with --name"
            )
    return before | ({} if before["state"] == FINISHED else {"state": RUNNING})


def _encoders(config: Config, space: Space, sweep: Run) -> None:
    """Pre-train once what trials share: the encoders, for every combination of the keys they depend on."""
    if config.pretrain.encoders is not None or not space.shares_encoders:
        return
    listed = {parameter.key: parameter.values for parameter in space.of_encoders}
    for values in product(*listed.values()):
        chosen = trial_config(config, dict(zip(listed, values, strict=True)))
        run = Run(sweep.path("encoders", encoders_key(chosen)))
        if not run.has("encoders.safetensors"):
            run.write_config(chosen)
            stages.training_stages(chosen, run, until="pretrain")


def _tune(config: Config, space: Space, sweep: Run, steps: int) -> str:
    """Run Ray Tune on what there is left to do; returns the sweep's state."""
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends the command; the same goes on
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # runs log themselves
    from ray import tune

    known, planned = load_trials(sweep), space.trials(config.tune.trials)
    left = sum(trial.is_open for trial in known) + planned - len(known)
    budget = _Budget(sweep)
    if left and not budget.spent():
        stages = rungs(scheduler_of(space, config.tune), config.tune, steps)
        registry = ray.remote(num_cpus=0)(_Registry).remote(sweep, storage_environment())

        def trial(values: dict[str, Any]) -> None:
            run_trial(values, sweep, stages, registry)

        storage.remove_folder(sweep.path("tune"))  # of a start before, whose trials are in ours
        search, param_space = _search(config, space, known, left)
        tuner = tune.Tuner(
            tune.with_resources(trial, {"CPU": 0.01}),
            param_space=param_space,
            tune_config=tune.TuneConfig(
                scheduler=_scheduler(config, space, known, stages), search_alg=search, num_samples=left
            ),
            run_config=tune.RunConfig(
                name="state",
                storage_path=sweep.path("tune"),
                stop=_stopper(budget),
                verbose=1,
                callbacks=[_marks(sweep, registry, budget)],
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        tuner.fit()
        storage.remove_folder(sweep.path("tune"))
    trials = load_trials(sweep)
    for one in trials:
        _mark(sweep, one.id, LEFT, "the sweep ended before")
    if len(trials) >= planned and not any(one.is_open for one in trials):
        return FINISHED
    return budget.spent() or "stopped"


def _search(config: Config, space: Space, known: list[Trial], left: int) -> tuple[Any, dict[str, Any]]:
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


def _scheduler(config: Config, space: Space, known: list[Trial], stages: list[int]) -> Any:
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining

    options, kind = config.tune, scheduler_of(space, config.tune)
    rules: dict[str, Any] = {"time_attr": "step", "metric": "score", "mode": "min"}
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

    def within(values: dict[str, Any]) -> dict[str, Any]:
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


class _Budget:
    """What a sweep may cost, and whether it has. Looks at what trial.json says, which outlives the process."""

    def __init__(self, sweep: Run) -> None:
        self._sweep, self._caps = sweep, sweep.read_json("sweep.json")["caps"]
        self._looked, self._found = 0.0, ""

    def spent(self) -> str:
        """What has been used up, or nothing; a few seconds old."""
        if not self._found and time.monotonic() - self._looked > _BUDGET_SECONDS:
            self._found, self._looked = self._look(), time.monotonic()
        return self._found

    def _look(self) -> str:
        hours, gpu_hours = self._caps["max_hours"], self._caps["max_gpu_hours"]
        if hours is not None and time.time() - self._caps["since"] > 3600 * hours:
            return f"stopped: tune.max_hours={hours} is used up"
        if gpu_hours is not None and sum(trial.cost() for trial in load_trials(self._sweep)) >= gpu_hours:
            return f"stopped: tune.max_gpu_hours={gpu_hours} is used up"
        return ""


def _stopper(budget: _Budget) -> Any:
    from ray import tune

    class Spent(tune.Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return bool(budget.spent())

    return Spent()


def _marks(sweep: Run, registry: Any, budget: _Budget) -> Any:
    from ray import tune

    class Marks(tune.Callback):  # type: ignore[misc]
        """Notes in trial.json what the trial itself cannot: that it was stopped, or lost."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            if budget.spent():
                self._mark(trial, LEFT, budget.spent())
            else:
                self._mark(trial, STOPPED, "others were better at this rung")

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self._mark(trial, FAILED, "its process was lost")

        def _mark(self, trial: Any, state: str, reason: str) -> None:
            name = ray.get(registry.name.remote(trial.trial_id))
            if name is not None:
                _mark(sweep, name, state, reason)

    return Marks()


def _mark(sweep: Run, trial_id: str, state: str, reason: str) -> None:
    found = load_trial(sweep, trial_id)
    if found is not None and found.state == RUNNING:
        found.work_ended()
        found.state, found.reason = state, reason
        found.save(sweep)


def _dashboard() -> str:
    worker = ray._private.worker
    return str(worker.get_dashboard_url() or "")
