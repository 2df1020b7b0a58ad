"""The judge of an evaluation: encoders that no generator has seen, trained where `evaluate.judge` is a seed."""

from __future__ import annotations

from collections.abc import Callable

from dmgan.config import Config, ConfigError, with_values
from dmgan.evaluation.judges import encoders_key, judge_run, judge_seed
from dmgan.runs.run import Run

__all__ = ["check_judge", "make_judge", "with_judge_of"]


def check_judge(config: Config, run: Run) -> None:
    """Raise ConfigError for a judge that cannot be had, or that is the very encoders the generator is trained with."""
    judge, seed = judge_run(config, run), judge_seed(config)
    if judge is None:
        return
    key = f"evaluate.judge={config.evaluate.judge}"
    if seed is None:
        for name in ("run.yaml", "encoders.safetensors"):
            if not judge.has(name):
                raise ConfigError(f"{key}: {judge.path(name)}: not found; expected a run with encoders, or a seed")
        if config.pretrain.encoders is not None and Run(config.pretrain.encoders).url == judge.url:
            raise ConfigError(f"{key}: is pretrain.encoders, which generators are trained to please; expected others")
    elif config.pretrain.encoders is None and encoders_key(_of_seed(config, seed)) == encoders_key(config):
        raise ConfigError(
            f"{key}: expected another seed than train.seed={config.train.seed}, which trains the encoders"
        )


def make_judge(config: Config, run: Run, pretrain: Callable[[Config, Run], None]) -> None:
    """Have `pretrain` train the encoders of a seed, beside the runs, unless they are there."""
    judge, seed = judge_run(config, run), judge_seed(config)
    if judge is None or seed is None or judge.has("encoders.safetensors"):
        return
    chosen = _of_seed(config, seed)
    print(f"      the judge, encoders of seed {seed} that no generator sees: {judge.url}", flush=True)
    judge.write_config(chosen)
    pretrain(chosen, judge)


def with_judge_of(config: Config, base: Config, run: Run) -> Config:
    """`config` with the judge that `make_judge(base, run, …)` had made: one for all, whatever encoders each has."""
    judge = judge_run(base, run)
    return config if judge is None else with_values(config, {"evaluate.judge": judge.url})


def _of_seed(config: Config, seed: int) -> Config:
    return with_values(config, {"train.seed": seed, "pretrain.encoders": None})
