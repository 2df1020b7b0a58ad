"""The runs that are served: where they are, by what settings, and what is refused before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.serving.access import ServingError
from datasets import storage
from dmgan.config import Config, ConfigError, Serve, load_config
from dmgan.model.tokenizers import Tokenizer
from dmgan.runs.folder import GeneratorRecord, check_name
from dmgan.runs.run import Run

__all__ = ["ServedRun", "served_runs"]

_FILES = ("run.yaml", "vocabulary.json", "encoders.safetensors", "generator.safetensors", "generator.json")


@dataclass(frozen=True)
class ServedRun:
    """A run under the name that requests call it by."""

    name: str
    url: str
    config: Config
    record: GeneratorRecord

    @property
    def settings(self) -> Serve:
        return self.config.serve

    def read_tokenizer(self) -> Tokenizer:
        return Run(self.url).read_tokenizer(self.config)


def served_runs(names: Sequence[str], folder: str, overrides: Sequence[str] = ()) -> list[ServedRun]:
    """The runs of these names below `folder`, each with the `serve` section of its run.yaml and `overrides`, KEY=VALUE.

    Weights are not read. Raises ServingError, ConfigError, StorageError.
    """
    if not names:
        raise ServingError("--name: not given; expected the name of a run, and of others to compare it with")
    if twice := next((name for name in names if list(names).count(name) > 1), None):
        raise ServingError(f"--name {twice}: is given twice")
    for name in names:
        check_name(name)
    for assignment in overrides:
        if not assignment.startswith("serve."):
            raise ServingError(
                f"--set {assignment}: expected a key of serve, such as serve.batch_size=32; other settings of a "
                "run stay as they are"
            )
    return [_served_run(name, storage.join(folder, name), overrides) for name in names]


def _served_run(name: str, url: str, overrides: Sequence[str]) -> ServedRun:
    run = Run(url)
    if run.has("sweep.json"):
        raise ConfigError(f"{url}: holds a sweep; expected a run, such as those in {run.path('trials')}")
    if not any(run.has(file) for file in _FILES):
        raise ConfigError(f"{url}: no run is there")
    if missing := next((file for file in _FILES if not run.has(file)), None):
        raise ConfigError(f"{run.path(missing)}: not found; run `python -m dmgan.launch train` first")
    record = run.read_generator_record()
    assert record is not None
    served = ServedRun(name, url, load_config(run.read_config(), overrides), record)
    served.read_tokenizer()  # a damaged one is said now
    return served
