"""The sweep: Ray Tune over runs, resumed by name, ended by a cap on its cost, with a report."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

import ray

from cluster import job
from cluster.job import ClusterError
from cluster.train import planned_steps, storage_environment
from datasets.manifest import load_manifest
from dmgan.config import Config, ConfigError
from dmgan.run import Run
from tune.report import write_report
from tune.results import FAILED, FINISHED, RUNNING, STOPPED, load_trial, load_trials, rungs
from tune.space import Parameter, Space
from tune.trial import encoders_key, run_trial, trial_config

__all__ = ["run_sweep"]

SPARE_CPUS = 1  # for the trials themselves, beside their workers
_BUDGET_SECONDS = 5.0  # between looks at what has been used
_SCORES = ("step", "score", "fid", "r_precision")


class _Environment:
    """Holds what reaches storage in memory: what Tune is given it writes to storage."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables

    def get(self) -> dict[str, str]:
        return self._variables


def run_sweep(config: Config, space: Space, sweep: Run) -> None:
    """Run the sweep, or what is left of it, and write its report.

    Raises ConfigError where the sweep was started with another space or configuration.
    """
    state = _begin(config, space, sweep)
    if state["state"] == FINISHED:
        print(f"sweep {sweep.name} is complete, nothing to do: {write_report(sweep)}")
        return
    with job.opened(config, sweep, {"pretrain", "train", "evaluate"}, spare_cpus=SPARE_CPUS, dashboard=True):
        caps = {"max_hours": config.tune.max_hours, "max_gpu_hours": config.tune.max_gpu_hours}
        state["caps"] = caps | {"since": time.time()}
        sweep.write_json("sweep.json", state)
        steps = planned_steps(config, "train", load_manifest(config.data.url)[0])
        if dashboard := _dashboard():
            print(f"      Ray dashboard at {dashboard}", flush=True)
        _encoders(config, space, sweep)
        ended = _tune(config, space, sweep, steps)
    state["state"] = ended
    _settle(sweep, "the sweep ended" if ended == FINISHED else ended)
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
    free = {"max_gpu_hours", "max_hours"}
    old, new = (c.model_dump() | {"tune": c.tune.model_dump(exclude=free)} for c in (sweep.read_config(), config))
    if old != new:
        section = next(name for name in new if old[name] != new[name])
        key = next(k for k in new[section] if old[section].get(k) != new[section][k])
        raise ConfigError(
            f"{section}.{key}: the sweep was started with {old[section].get(key)}, not {new[section][key]}; go on with "
            "its own value, or start another sweep with --name"
        )
    return before | ({} if before["state"] == FINISHED else {"state": RUNNING})


def _encoders(config: Config, space: Space, sweep: Run) -> None:
    """Pre-train once what the trials share: the encoders, for every N_w; none if the trials' own would differ more."""
    if config.pretrain.encoders is not None:
        return
    private = (
        "pretrain.",
        "model.embedding_dim",
        "model.image_encoder",
        "model.base",
        "model.refine",
        "train.",
        "data.",
    )
    if any(key.startswith(private) and key not in _GAN_ONLY for key in space.keys):
        return
    words = next((p for p in space.parameters if p.key == "model.word_dim"), None)
    values: list[Mapping[str, Any]] = [{}]
    if words is not None:
        if words.kind not in ("choice", "grid"):
            return
        values = [{words.key: value} for value in words.values]
    for value in values:
        chosen = trial_config(config, dict(value))
        run = Run(sweep.path("encoders", encoders_key(chosen)))
        if not run.has("encoders.safetensors"):
            run.write_config(chosen)
            job.training_stages(chosen, run, until="pretrain")


# Of the keys under train. and data., those that pre-training does not look at. Seeds share encoders: what a sweep
# compares is the GAN.
_GAN_ONLY = {"train.batch_size", "train.accumulate", "train.seed", "train.batch_statistics", "train.epochs"}


def _tune(config: Config, space: Space, sweep: Run, steps: int) -> str:
    """Run Ray Tune; returns the sweep's state."""
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends the command; the same goes on
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "2")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # runs log themselves
    from ray import tune

    # Of a trial that goes on, which tells its rungs again.
    warnings.filterwarnings("ignore", message="The reported value is ignored")
    budget = _budget(sweep)
    environment = ray.remote(num_cpus=0)(_Environment).remote(storage_environment())

    def trial(values: dict[str, Any]) -> None:
        run_trial(values, sweep, steps, environment)

    trainable = tune.with_resources(trial, {"CPU": 0.01})
    location = sweep.path("tune")
    if tune.Tuner.can_restore(location):
        tuner = tune.Tuner.restore(location, trainable=trainable, resume_unfinished=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={parameter.key: parameter.domain() for parameter in space.parameters},
            tune_config=_tune_config(config, space, steps),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=sweep.url,
                stop=budget,
                verbose=1,
                callbacks=[_marks(sweep)],
                progress_reporter=_live_table(space),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
    tuner.fit()
    spent = budget.spent()
    return spent or FINISHED


def _tune_config(config: Config, space: Space, steps: int) -> Any:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining

    options = config.tune
    scheduler: Any = FIFOScheduler()
    if options.scheduler == "asha" and len(rungs(options, steps)) > 1:
        scheduler = ASHAScheduler(
            time_attr="step", max_t=steps, grace_period=options.first_rung, reduction_factor=options.reduction
        )
    elif options.scheduler == "pbt":
        scheduler = PopulationBasedTraining(
            time_attr="step",
            perturbation_interval=options.first_rung,
            hyperparam_mutations={p.key: _mutation(p) for p in space.parameters},
            require_attrs=False,
        )
    grid_only = all(parameter.kind == "grid" for parameter in space.parameters)
    search: dict[str, Any] = {}
    if not space.has_grid and options.search != "random" and options.scheduler != "pbt":
        from optuna.samplers import TPESampler
        from ray.tune.search.optuna import OptunaSearch

        search = {"search_alg": OptunaSearch(sampler=TPESampler(seed=options.seed, multivariate=False))}
    else:
        from ray.tune.search.basic_variant import BasicVariantGenerator

        search = {"search_alg": BasicVariantGenerator(random_state=options.seed)}
    return tune.TuneConfig(
        metric="score",
        mode="min",
        scheduler=scheduler,
        num_samples=1 if grid_only else options.trials,
        max_concurrent_trials=_concurrent(config),
        **search,
    )


def _mutation(parameter: Parameter) -> Any:
    return list(parameter.values) if parameter.kind == "choice" else parameter.domain()


def _concurrent(config: Config) -> int:
    """Trials at once: each needs all its workers, and a little for itself. Raises ClusterError."""
    resources, workers = ray.cluster_resources(), config.train.workers
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    hold = min(cpus - SPARE_CPUS, gpus) // workers if gpus else (cpus - SPARE_CPUS) // workers
    if hold < 1:
        raise ClusterError(
            f"train.workers={workers}: a trial needs a CPU beside those of its workers, the Ray cluster has {cpus}"
        )
    return min(hold, config.tune.concurrent) if config.tune.concurrent else hold


def _budget(sweep: Run) -> Any:
    from ray import tune

    class Budget(tune.Stopper):  # type: ignore[misc]
        """Ends the sweep when it has cost enough.

        Tune restores the one that a sweep began with, so the caps are read from where a later start writes its own.
        """

        def __init__(self) -> None:
            self._looked, self._found = 0.0, ""

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            if time.monotonic() - self._looked > _BUDGET_SECONDS:
                self._looked, self._found = time.monotonic(), self.spent()
            return bool(self._found)

        def spent(self) -> str:
            """What has been used up, or nothing."""
            caps = sweep.read_json("sweep.json")["caps"]
            if caps["max_hours"] is not None and time.time() - caps["since"] > 3600 * caps["max_hours"]:
                return f"stopped: tune.max_hours={caps['max_hours']} is used up"
            if caps["max_gpu_hours"] is not None:
                used = sum(trial.hours for trial in load_trials(sweep))
                if used >= caps["max_gpu_hours"]:
                    return f"stopped: tune.max_gpu_hours={caps['max_gpu_hours']} is used up"
            return ""

    return Budget()


def _marks(sweep: Run) -> Any:
    from ray import tune

    class Marks(tune.Callback):  # type: ignore[misc]
        """Notes in trial.json what the trial itself cannot: that it was stopped, or lost."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            _mark(sweep, trial.trial_id, STOPPED, "others were better at this rung")

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            _mark(sweep, trial.trial_id, FAILED, "its process was lost")

    return Marks()


def _mark(sweep: Run, trial_id: str, state: str, reason: str) -> None:
    found = load_trial(sweep, trial_id)
    if found is not None and found.state == RUNNING:
        found.state, found.reason = state, reason
        found.save(sweep)


def _settle(sweep: Run, reason: str) -> None:
    """No trial is running any more."""
    for trial in load_trials(sweep):
        _mark(sweep, trial.id, STOPPED, reason)


def _live_table(space: Space) -> Any:
    from ray.tune import CLIReporter

    return CLIReporter(
        metric_columns=list(_SCORES),
        parameter_columns=space.keys,
        max_report_frequency=30 if sys.stdout.isatty() else 120,
        sort_by_metric=True,
        metric="score",
        mode="min",
    )


def _dashboard() -> str:
    worker = ray._private.worker
    return str(worker.get_dashboard_url() or "")
