"""The sweep: Ray Tune over runs, resumed by name, ended by a cap on its cost, with a report."""

from __future__ import annotations

import os
import time
from itertools import product

import ray

from cluster.driver import stages
from cluster.driver.judging import make_judge
from cluster.worker.planned import planned_steps
from datasets import storage
from datasets.manifest import load_manifest
from datasets.storage.environment import storage_environment
from dmgan.config import Config, ConfigError, keys_with, known_keys, with_values
from dmgan.evaluation.judges import encoders_key
from dmgan.runs.run import Run
from dmgan.runs.samples import sample_captions
from tune.report.page import write_report
from tune.results import FINISHED, LEFT, RUNNING, check_objective, load_trials, rungs
from tune.space import Space, scheduler_of
from tune.state import Budget, Caps, SweepState, read_state
from tune.trial import run_trial
from tune.tuner import SPARE_CPUS, TrialNames, marks, note_end, scheduler, search_of, stopper

__all__ = ["run_sweep"]


def run_sweep(config: Config, space: Space, sweep: Run) -> None:
    """Run the sweep, or what is left of it, and write its report.

    Raises ConfigError where the sweep was started with another space or configuration.
    """
    check_objective(config.tune)
    state = _begin(config, space, sweep)
    if state.state == FINISHED:
        print(f"sweep {sweep.name} is complete, nothing to do: {write_report(sweep)}")
        return
    with stages.prepared(config, sweep, {"pretrain", "train", "evaluate"}, spare_cpus=SPARE_CPUS, dashboard=True):
        caps = Caps(max_hours=config.tune.max_hours, max_gpu_hours=config.tune.max_gpu_hours, since=time.time())
        state = state.model_copy(update={"caps": caps, "captions": sample_captions(config)})
        state.save(sweep)
        steps = planned_steps(config, "train", load_manifest(config.data.url)[0])
        if dashboard := _dashboard():
            print(f"      Ray dashboard at {dashboard}", flush=True)
        _encoders(config, space, sweep)
        ended = _tune(config, space, sweep, steps, Budget(sweep, caps))
        state.model_copy(update={"state": ended}).save(sweep)
    print(f"sweep {sweep.name}: {ended}; report: {write_report(sweep)}", flush=True)


def _begin(config: Config, space: Space, sweep: Run) -> SweepState:
    """sweep.json as it is, or for a new sweep. Raises ConfigError if it is of another."""
    now = SweepState(
        space=space.to_dict(),
        trials=space.trials(config.tune.trials),
        objective=config.tune.objective,
        started=time.time(),
    )
    if sweep.has("generator.json"):
        raise ConfigError(f"{sweep.url}: holds a run; choose another --name for the sweep")
    if not sweep.has("sweep.json"):
        return now
    before = read_state(sweep)
    for key in ("space", "trials"):
        old, new = getattr(before, key), getattr(now, key)
        if old != new:
            raise ConfigError(
                f"{sweep.path('sweep.json')}: the sweep was started with {key} {old}, not {new}; go on "
                "with them, or start another sweep with --name"
            )
    begun = sweep.read_config()
    for key in known_keys():
        if key not in keys_with("cap") and begun.value(key) != config.value(key):
            raise ConfigError(
                f"{key}: the sweep was started with {begun.value(key)}, not {config.value(key)}; go on with its own "
                "value, or start another sweep with --name"
            )
    return before if before.state == FINISHED else before.model_copy(update={"state": RUNNING})


def _encoders(config: Config, space: Space, sweep: Run) -> None:
    """Pre-train once what trials share: the encoders, for every combination of the keys they depend on."""
    make_judge(config, Run(sweep.path("trials", "any")), _pretrain)  # beside the trials, which share it
    if config.pretrain.encoders is not None or not space.shares_encoders:
        return
    listed = {parameter.key: parameter.values for parameter in space.of_encoders}
    for values in product(*listed.values()):
        chosen = with_values(config, dict(zip(listed, values, strict=True)))
        run = Run(sweep.path("encoders", encoders_key(chosen)))
        if not run.has("encoders.safetensors"):
            run.write_config(chosen)
            _pretrain(chosen, run)


def _pretrain(config: Config, run: Run) -> None:
    stages.training_stages(config, run, until="pretrain")


def _tune(config: Config, space: Space, sweep: Run, steps: int, budget: Budget) -> str:
    """Run Ray Tune on what there is left to do; returns the sweep's state."""
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends the command; the same goes on
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # runs log themselves
    from ray import tune

    known, planned = load_trials(sweep), space.trials(config.tune.trials)
    left = sum(trial.is_open for trial in known) + planned - len(known)
    if left and not budget.spent():
        stages = rungs(scheduler_of(space, config.tune), config.tune, steps)
        names = ray.remote(num_cpus=0)(TrialNames).remote(sweep, storage_environment())

        def trial(values: dict[str, object]) -> None:
            run_trial(values, sweep, stages, names)

        storage.remove_folder(sweep.path("tune"))  # of a start before, whose trials are in ours
        search, param_space = search_of(config, space, known, left)
        tuner = tune.Tuner(
            tune.with_resources(trial, {"CPU": 0.01}),
            param_space=param_space,
            tune_config=tune.TuneConfig(
                scheduler=scheduler(config, space, known, stages), search_alg=search, num_samples=left
            ),
            run_config=tune.RunConfig(
                name="state",
                storage_path=sweep.path("tune"),
                stop=stopper(budget),
                verbose=1,
                callbacks=[marks(sweep, names, budget)],
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        tuner.fit()
        storage.remove_folder(sweep.path("tune"))
    trials = load_trials(sweep)
    for one in trials:
        note_end(sweep, one.id, LEFT, "the sweep ended before")
    if len(trials) >= planned and not any(one.is_open for one in trials):
        return FINISHED
    return budget.spent() or "stopped"


def _dashboard() -> str:
    """Its address, to be clicked on; empty without one."""
    worker = ray._private.worker
    address = str(worker.get_dashboard_url() or "")
    return f"http://{address}" if address and "://" not in address else address
