"""One trial: a run that is trained to each rung, evaluated there and compared.

Training and evaluation are jobs of their own, one after the other, with the run's workers. Nothing of them is left
when a trial reports, which is when Tune stops trials.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import ray
from ray import tune

from cluster.driver import stages
from cluster.driver.failures import workers_as_one_line
from cluster.driver.judging import with_judge_of
from cluster.evaluation.candidate import candidate, current_evaluation
from cluster.evaluation.evaluate import evaluate
from cluster.placement import uses_gpus
from cluster.worker.checkpoints import copy_checkpoint
from datasets import storage
from datasets.errors import UserError, short_reason
from dmgan.config import Config, with_values
from dmgan.evaluation.judges import encoders_key
from dmgan.runs.run import Run
from tune.results import FAILED, FINISHED, RUNNING, Change, Rung, Trial, load_trial, minimised, trial_run
from tune.space import parse_space
from tune.state import read_state

__all__ = ["TrialError", "run_trial"]


_ENDLESS = 10**9


class TrialError(UserError):
    """A trial that failed; one line with its reason, which trial.json has too."""


def run_trial(values: dict[str, object], sweep: Run, steps: list[int], names: ray.actor.ActorHandle) -> None:
    """What Ray Tune calls, in a process of its own, to train to each of `steps`; `names` is the
    sweep's TrialNames."""
    os.environ.update(ray.get(names.environment.remote()))
    trial_id = ray.get(names.claim.remote(str(tune.get_context().get_trial_id()), values))
    trial, run = load_trial(sweep, trial_id), trial_run(sweep, trial_id)
    assert trial is not None  # `claim` has written it
    trial.state, trial.reason = RUNNING, ""
    try:
        _follow(trial, values, run, sweep)
        trial.save(sweep)
        base = sweep.read_config()
        space = parse_space(read_state(sweep).space, base, sweep.path("sweep.json"))
        config = space.config(base, trial.values)
        trial.workers = config.train.workers
        trial.gpu = uses_gpus(config)
        shared = Run(sweep.path("encoders", encoders_key(space.encoders_config(base, trial.values))))
        if shared.has("encoders.safetensors"):
            config = with_values(config, {"pretrain.encoders": shared.url})
        config = with_judge_of(config, base, run)
        run.write_config(config)
        for step in steps:
            if step > trial.step:
                _to_rung(trial, config, run, sweep, step)
                trial.state = FINISHED if step == steps[-1] else RUNNING
                trial.save(sweep)
                _tell(trial, config)
    except Exception as error:
        trial.work_ended()
        trial.state, trial.reason = FAILED, short_reason(error)
        trial.save(sweep)
        raise TrialError(trial.reason) from None  # where in Ray it was says nothing to a reader of the table


def _follow(trial: Trial, values: dict[str, object], run: Run, sweep: Run) -> None:
    """After PBT's exploitation: go on from the other trial's checkpoint, with this trial's new values."""
    given = tune.get_checkpoint()
    if given is None:
        return
    with given.as_directory() as folder:
        origin = json.loads((Path(folder) / "origin.json").read_text(encoding="utf-8"))
    if origin["trial"] != trial.id:
        other = load_trial(sweep, origin["trial"])
        step = copy_checkpoint(trial_run(sweep, origin["trial"]), run, origin["step"])
        trial.rungs = [rung for rung in other.rungs if rung.step <= step] if other else []
        # Its own scores at later steps are of weights that it has no more.
        storage.remove_folder(run.path("evaluations"))
        storage.remove(run.path("evaluation.json"))
        trial.changes.append(Change(step=step, origin=origin["trial"], values=values))
    trial.values = values


def _to_rung(trial: Trial, config: Config, run: Run, sweep: Run, step: int) -> None:
    """Train to the step and evaluate there, unless that is done."""
    trial.work_began()
    trial.save(sweep)
    # The step is the end, however many samples a trial's step has.
    staged = with_values(config, {"train.max_steps": step, "train.epochs": _ENDLESS})
    stages.training_stages(staged, run)
    chosen = candidate(config, run)
    result = current_evaluation(run, chosen)
    if result is None:
        with workers_as_one_line("evaluation"):
            result = evaluate(config, run, chosen)
    trial.work_ended()
    trial.rungs.append(
        Rung(
            step=step,
            score=minimised(config.tune, result.values),
            scores={score.name: score.of(result.values) for score in result.scores},
            hours=trial.hours,
        )
    )


def _tell(trial: Trial, config: Config) -> None:
    if config.tune.scheduler != "pbt":
        tune.report(_told(trial.rungs[-1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "origin.json").write_text(json.dumps({"trial": trial.id, "step": trial.step}))
        tune.report(_told(trial.rungs[-1]), checkpoint=tune.Checkpoint.from_directory(folder))


def _told(rung: Rung) -> dict[str, object]:
    """What Tune's schedulers and searches look at."""
    return {"step": rung.step, "score": rung.score}
