"""What each command of the command line does."""

from __future__ import annotations

import argparse
from pathlib import Path

from cluster.driver import stages
from cluster.driver.submitted import output_folder
from datasets import storage
from datasets.documents import short
from dmgan.cli.export import export
from dmgan.cli.generate import generate
from dmgan.config import Config, ConfigError, absolute_paths, load_config
from dmgan.runs.run import Run

__all__ = ["carry_out"]


def carry_out(options: argparse.Namespace) -> int:
    """The exit code of a command. Raises UserError."""
    name = options.name if options.name is not None else Path(options.config).stem if options.config else "quickstart"
    if options.command == "tune" and options.name is None:
        name += "-sweep"
    _check_name(name)
    # Absolute: Ray's workers have other working directories.
    folder = storage.absolute(output_folder(options.storage))
    run = Run(storage.join(folder, name))
    if options.command not in ("tune", "report") and run.has("sweep.json"):
        raise ConfigError(f"{run.url}: holds a sweep; expected another --name, or a run in {run.path('trials')}")
    config = _config(options, run)
    commands = {
        "train": _train,
        "pretrain": _pretrain,
        "evaluate": _evaluate,
        "generate": generate,
        "tune": _tune,
        "report": _report,
        "export": export,
    }
    commands[options.command](options, config, run)
    return 0


def _check_name(name: str) -> None:
    """A run is a folder below the storage, of one name or some: those of a sweep's trials. Raises ConfigError."""
    if not name.isprintable() or any(part in ("", ".", "..") for part in name.split("/")) or set(name) & set("?#\\"):
        raise ConfigError(f"--name {short(repr(name))}: expected a name such as birds, below the storage")


def _train(options: argparse.Namespace, config: Config, run: Run) -> None:
    if stages.complete(config, run):
        print(f"run {run.name} is complete, nothing to do: {run.path('report.html')}")
    else:
        stages.main_job(config, run)


def _pretrain(options: argparse.Namespace, config: Config, run: Run) -> None:
    with stages.prepared(config, run, {"pretrain"}) as lease:
        stages.training_stages(config, run, until="pretrain", lease=lease)


def _evaluate(options: argparse.Namespace, config: Config, run: Run) -> None:
    _check_trained(run)
    steps = _steps(options.steps, run)
    images = options.save_images and storage.absolute(output_folder(options.save_images))
    with stages.prepared(config, run, {"evaluate"}):
        stages.evaluate_stage(config, run, steps, images)


def _report(options: argparse.Namespace, config: Config, run: Run) -> None:
    if run.has("sweep.json"):
        from tune.report.page import write_report

        print(f"[1/1] report: {write_report(run)}")
        return
    _check_trained(run)
    folder = run.url.rpartition("/")[0]
    with stages.prepared(config, run, set()):
        stages.report_stage(config, run, [_evaluated(storage.join(folder, name)) for name in options.beside or ()])


def _check_trained(run: Run) -> None:
    if not run.has("generator.json"):
        raise ConfigError(f"{run.path('generator.json')}: not found; run `python -m dmgan.launch train` first")


def _evaluated(url: str) -> Run:
    """A run for `--beside`. Raises ConfigError where it has no evaluation."""
    run = Run(url)
    if not run.has("evaluation.json"):
        raise ConfigError(f"--beside {run.name}: {run.path('evaluation.json')}: not found")
    return run


def _steps(text: str | None, run: Run) -> list[int] | None:
    """The steps of --steps. Raises ConfigError."""
    from cluster.evaluation.candidate import steps_of

    if text is None:
        return None
    there = steps_of(run)
    if not text.strip() or not there:
        raise ConfigError(f"--steps {text}: {run.path('checkpoints')} has no checkpoint of the GAN")
    if text == "all":
        return there
    try:
        steps = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--steps {text}: expected all, or steps such as 500,1000") from None
    if missing := [step for step in steps if step not in there]:
        listed = ", ".join(map(str, there))
        raise ConfigError(f"--steps {text}: no checkpoint of step {missing[0]}; there are: {listed}")
    return steps


def _config(options: argparse.Namespace, run: Run) -> Config:
    """--config, else the run's own, else the default preset; then --set and --workers."""
    overrides = [*options.set, *([f"train.workers={options.workers}"] if options.workers is not None else [])]
    overrides += [f"tune.trials={options.trials}"] if getattr(options, "trials", None) is not None else []
    if options.config is None and run.has("run.yaml"):
        return absolute_paths(load_config(run.read_config(), overrides))
    return absolute_paths(load_config(options.config, overrides))


def _tune(options: argparse.Namespace, config: Config, sweep: Run) -> None:
    from tune.space import load_space, parse_space, presets
    from tune.state import read_state
    from tune.sweep import run_sweep

    if options.search is not None:
        space = load_space(options.search, config)
        if options.trials is not None and space.trials(options.trials) == space.trials(options.trials + 1):
            raise ConfigError(
                f"--trials {options.trials}: expected none: {options.search} is a grid of {space.trials(1)} trials"
            )
    elif sweep.has("sweep.json"):
        space = parse_space(read_state(sweep).space, config, sweep.path("sweep.json"))
    else:
        raise ConfigError(f"--search: not given; expected a preset ({', '.join(presets())}) or a YAML file")
    run_sweep(config, space, sweep)
