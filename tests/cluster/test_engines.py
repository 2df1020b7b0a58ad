"""Two workers, DeepSpeed and ZeRO 0–3 against one plain PyTorch process with the whole batch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from dmgan.average import Average
from dmgan.config import load_config
from dmgan.engine import PlainEngine
from dmgan.networks import build_discriminators, build_encoders, build_generator
from dmgan.pretraining import DamsmTraining
from dmgan.training import GanTraining
from tests.small import SMALL, batch

WORLD, BATCH, STEPS = 2, 6, 5
CONFIG = load_config(None, [*SMALL, "objective.mismatched_pairs=true"])
BETAS = (CONFIG.optimizer.beta1, CONFIG.optimizer.beta2)


def train(make_engine: Any, rank: int = 0, world: int = 1, checkpoint: Path | None = None) -> dict[str, Any]:
    """A few GAN steps, then a few of pre-training; this worker's losses and, whole, all weights and buffers."""
    share = BATCH // world
    mine = {k: v[rank * share : (rank + 1) * share] for k, v in batch(BATCH).items()}
    torch.manual_seed(0)
    encoders = build_encoders(CONFIG.model, 20).eval().requires_grad_(False)
    fresh = build_generator(CONFIG.model)
    average = Average(fresh, 0.99)
    generator, discriminators = make_engine(fresh, 4e-4), make_engine(build_discriminators(CONFIG.model), 4e-4)
    gan = GanTraining(generator, discriminators, encoders, average, CONFIG.objective, seed=0)
    losses = [gan.step(mine, step) for step in range(STEPS)]
    if checkpoint is not None:
        engines = {"generator": generator, "discriminators": discriminators}
        for name, engine in engines.items():
            engine.save(checkpoint / name)
        gan.step(mine, STEPS)  # away from what was saved
        for name, engine in engines.items():
            engine.load(checkpoint / name)
    torch.manual_seed(1)
    learner = make_engine(build_encoders(CONFIG.model, 20, dropout=0.0).train(), 2e-3)
    damsm = DamsmTraining(learner, CONFIG.objective, lr=2e-3, steps=STEPS)
    losses += [damsm.step(mine, step) for step in range(STEPS)]
    state: dict[str, Any] = {"losses": [{k: float(v) for k, v in step.items()} for step in losses]}
    for name, engine in {"generator": generator, "discriminators": discriminators, "encoders": learner}.items():
        with engine.full_weights():
            state |= {f"{name}.{k}": v.detach().clone() for k, v in engine.module.state_dict().items()}
    if checkpoint is None:
        state |= {f"average.{k}": v.clone() for k, v in average.module.state_dict().items()}
        text = gan.encode(mine)
        with torch.no_grad():  # the average is a plain module, whatever holds the weights
            average.module(torch.zeros(share, 4), text.sentence, text.words, text.padding_mask, torch.zeros(share, 4))
    return state


def worker(rank: int, stage: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    from cluster import engines

    engines.initialise(torch.device("cpu"))

    def make(module: torch.nn.Module, lr: float) -> engines.DeepSpeedEngine:
        return engines.DeepSpeedEngine(module, lr=lr, betas=BETAS, zero_stage=stage, batch_size=BATCH // WORLD)

    torch.save(train(make, rank, WORLD), f"{folder}/straight-{rank}.pt")
    torch.save(train(make, rank, WORLD, Path(folder) / "checkpoint"), f"{folder}/restored-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def one_process() -> dict[str, Any]:
    return train(lambda module, lr: PlainEngine(module, lr, BETAS))


@pytest.mark.distributed
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_workers_are_one_process_with_the_whole_batch(
    stage: int, one_process: dict[str, Any], tmp_path: Path
) -> None:
    mp.spawn(worker, (stage, str(tmp_path)), nprocs=WORLD)
    states = [torch.load(tmp_path / f"straight-{rank}.pt", weights_only=True) for rank in range(WORLD)]
    for number, expected in enumerate(one_process["losses"]):
        for name, value in expected.items():
            mean = sum(state["losses"][number][name] for state in states) / WORLD
            assert mean == pytest.approx(value, rel=1e-5, abs=1e-6), (number, name)
    for name, value in one_process.items():
        if isinstance(value, torch.Tensor):
            # The softmax over slots does not see a bias that all keys share (where the rectifier is open), so its
            # gradient is rounding alone, out of which Adam makes steps of the learning rate; nothing else feels them.
            limit = 2 * STEPS * 4e-4 if name.endswith("read.key.0.bias") else 1e-5
            for state in states:
                torch.testing.assert_close(state[name], value, rtol=1e-5, atol=limit, msg=lambda m, n=name: f"{n}: {m}")
    restored = torch.load(tmp_path / "restored-0.pt", weights_only=True)
    for name, value in states[0].items():
        if name.startswith(("generator.", "discriminators.")):
            assert torch.equal(restored[name], value), name
