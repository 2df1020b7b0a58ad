"""The command line: python -m dmgan.launch [train | pretrain | evaluate | generate | tune | report].

Without a command: train, the main job. Exit code 0 on success, 2 and one line on a mistake in what was asked, 1 when
the job itself failed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.submitted import INSTALL, is_submitted, kept, outlive_the_job, warn_of_credentials
from dmgan.config import Config, ConfigError, load_config, presets

if TYPE_CHECKING:
    from dmgan.run import Run

__all__ = ["job_failure", "main"]

COMMANDS = {
    "train": "the main job: dataset, encoders, GAN, evaluation, report; resumes a run that exists",
    "pretrain": "the encoders only",
    "evaluate": "IS, FID and R-precision of a trained run",
    "generate": "images from captions with a trained run",
    "tune": "a hyperparameter sweep of training runs, with a report; resumes a sweep that exists",
    "report": "write report.html of a run or sweep anew",
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    warn_of_credentials()
    # Heavy imports come after the arguments are known to be right.
    try:
        from cluster.local_s3 import LocalS3Error
        from cluster.resources import ClusterError
        from cluster.train import StoppedError, TrainingError
        from datasets.manifest import ManifestError
        from datasets.records import SourceError
        from datasets.storage import StorageError
    except ModuleNotFoundError as error:
        print(f"dmgan: {error.name}: not installed for {sys.executable}; {INSTALL}", file=sys.stderr)
        return 2

    try:
        return _run(options)
    except (ClusterError, ConfigError, LocalS3Error, ManifestError, SourceError, StorageError) as error:
        # What a worker raised comes as Ray's error of that kind, whose text is a traceback.
        print(f"dmgan: {getattr(error, 'cause', error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dmgan: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except StoppedError as error:
        print(f"dmgan: {error}", file=sys.stderr)
        return 128 + error.signal
    except TrainingError as error:
        print(f"dmgan: training failed: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        failure = job_failure(error)
        if failure is None:
            raise
        print(f"dmgan: {failure}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dmgan.launch",
        description="Train and use DM-GAN, the dynamic-memory text-to-image GAN.",
        epilog="commands:\n" + "\n".join(f"  {name:9} {text}" for name, text in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", choices=list(COMMANDS), default="train", metavar="COMMAND")
    parser.add_argument("--config", metavar="NAME_OR_FILE", help=f"a preset ({', '.join(presets())}) or a YAML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; repeatable")
    parser.add_argument(
        "--storage",
        default=os.environ.get("DMGAN_STORAGE", "./runs"),
        metavar="DIR_OR_S3_URL",
        help="where runs live (default: $DMGAN_STORAGE, or ./runs)",
    )
    parser.add_argument("--name", metavar="RUN", help="run name (default: the configuration's); resumes if it exists")
    parser.add_argument("--workers", type=int, metavar="N", help="data-parallel workers")
    group = parser.add_argument_group("evaluate")
    group.add_argument("--steps", metavar="all|N[,N]", help="the run's checkpoints at these steps, as a curve")
    group.add_argument("--save-images", metavar="DIR_OR_S3_URL", help="keep the generated images there")
    group = parser.add_argument_group("tune")
    group.add_argument("--search", metavar="FILE_OR_PRESET", help="the space: tune/presets/, or YAML such as there")
    group.add_argument("--trials", type=int, metavar="N", help="configurations tried")
    group = parser.add_argument_group("report")
    group.add_argument("--beside", action="append", metavar="RUN", help="another run for the table; repeatable")
    group = parser.add_argument_group("generate")
    group.add_argument("--caption", action="append", default=[], metavar="TEXT", help="repeatable")
    group.add_argument("--captions", type=Path, metavar="FILE", help="a file with one caption a line")
    group.add_argument("--out", type=Path, default=Path("generated"), metavar="DIR", help="default ./generated")
    group.add_argument("--count", type=int, default=1, metavar="N", help="images a caption (default 1)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default 0)")
    return parser


def _run(options: argparse.Namespace) -> int:
    from cluster import job
    from datasets import storage
    from dmgan.run import Run

    name = options.name or (Path(options.config).stem if options.config else "quickstart")
    if options.command == "tune" and options.name is None:
        name += "-sweep"
    # Absolute: Ray's workers have other working directories.
    folder = storage.absolute(kept(options.storage))
    run = Run(storage.join(folder, name))
    for flag, value, command in (
        ("--steps", options.steps, "evaluate"),
        ("--save-images", options.save_images, "evaluate"),
        ("--beside", options.beside, "report"),
        ("--search", options.search, "tune"),
        ("--trials", options.trials, "tune"),
    ):
        if value is not None and options.command != command:
            raise ConfigError(f"{flag}: goes with `{command}`, not with `{options.command}`")
    if options.command not in ("tune", "report") and run.has("sweep.json"):
        raise ConfigError(f"{run.url}: holds a sweep; expected another --name, or a run in {run.path('trials')}")
    config = _config(options, run)
    if options.command == "tune":
        return _tune(options, config, run)
    if options.command == "report" and run.has("sweep.json"):
        from tune.report import write_report

        print(f"[1/1] report: {write_report(run)}")
        return 0
    if options.command == "generate":
        return _generate(options, config, run)
    if options.command in ("evaluate", "report") and not run.has("generator.json"):
        raise ConfigError(f"{run.path('generator.json')}: not found; run `python -m dmgan.launch train` first")
    if options.command == "train":
        if job.complete(config, run):
            print(f"run {run.name} is complete, nothing to do: {run.path('report.html')}")
            return 0
        job.main_job(config, run)
        return 0
    steps = _steps(options.steps, run)
    with job.opened(config, run, {options.command} - {"report"}):
        if options.command == "pretrain":
            job.training_stages(config, run, until="pretrain")
        elif options.command == "evaluate":
            images = options.save_images and storage.absolute(kept(options.save_images))
            job.evaluate_stage(config, run, steps, images)
        else:
            job.report_stage(config, run, [_evaluated(storage.join(folder, name)) for name in options.beside or ()])
    return 0


def _evaluated(url: str) -> Run:
    """A run for `--beside`. Raises ConfigError where it has no evaluation."""
    from dmgan.run import Run

    run = Run(url)
    if not run.has("evaluation.json"):
        raise ConfigError(f"--beside {run.name}: {run.path('evaluation.json')}: not found")
    return run


def _steps(text: str | None, run: Run) -> list[int] | None:
    """The steps of --steps. Raises ConfigError."""
    from cluster.evaluate import steps_of

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
    overrides += [f"tune.trials={options.trials}"] if options.trials is not None else []
    if options.config is None and run.has("run.yaml"):
        return _absolute(load_config(run.read_config(), overrides))
    return _absolute(load_config(options.config, overrides))


def _absolute(config: Config) -> Config:
    """The configuration with the paths in it absolute."""
    from datasets import storage

    changed = config.model_copy(deep=True)
    for section, key in (
        (changed.data, "url"),
        (changed.data, "cache_dir"),
        (changed.pretrain, "encoders"),
        (changed.pretrain, "inception_weights"),
        (changed.evaluate, "features_weights"),
        (changed.evaluate, "real_statistics"),
    ):
        if getattr(section, key):
            setattr(section, key, storage.absolute(getattr(section, key)))
    return changed


def _tune(options: argparse.Namespace, config: Config, sweep: Run) -> int:
    from tune.space import load_space, parse_space, presets
    from tune.sweep import run_sweep

    if options.search is not None:
        space = load_space(options.search, config)
        if options.trials is not None and space.trials(options.trials) == space.trials(options.trials + 1):
            raise ConfigError(
                f"--trials {options.trials}: expected none: {options.search} is a grid of {space.trials(1)} trials"
            )
    elif sweep.has("sweep.json"):
        space = parse_space(sweep.read_json("sweep.json")["space"], config, sweep.path("sweep.json"))
    else:
        raise ConfigError(f"--search: not given; expected a preset ({', '.join(presets())}) or a YAML file")
    run_sweep(config, space, sweep)
    return 0


def _generate(options: argparse.Namespace, config: Config, run: Run) -> int:
    from dmgan.generate import generate_files
    from dmgan.text import UnknownWordsError

    out = Path(kept(str(options.out)))
    captions = list(options.caption)
    if options.captions is not None:
        if not options.captions.is_file():
            raise ConfigError(f"--captions {options.captions}: not found")
        try:
            text = options.captions.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--captions {options.captions}: not readable as text: {error}") from error
        captions += [line.strip() for line in text.splitlines() if line.strip()]
    if not captions:
        raise ConfigError("generate: no captions; give --caption TEXT or --captions FILE")
    if options.count < 1:
        raise ConfigError(f"--count {options.count}: expected at least 1")
    try:
        files = generate_files(config, run, captions, out, options.count, options.seed)
    except UnknownWordsError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error}") from error
    print(f"{len(files)} images in {out}, all captions in {files[-1]}")
    return 0


def job_failure(error: Exception) -> str | None:
    """The reason in one line if this is Ray's report of a failed job on the workers, else None."""
    from ray.exceptions import RayError
    from ray.train import TrainingFailedError

    if isinstance(error, TrainingFailedError):
        what, causes = "training", list(getattr(error, "worker_failures", {}).values()) or [error]
    elif isinstance(error, RayError):
        what, causes = "evaluation", [error]
    else:
        return None
    lines = [line for line in str(causes[0]).strip().splitlines() if line.strip()]
    return f"{what} failed: {lines[-1] if lines else type(error).__name__}"


if __name__ == "__main__":
    sys.exit(outlive_the_job(main) if is_submitted() else main())
