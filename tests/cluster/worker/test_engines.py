"""Two workers, DeepSpeed and ZeRO 0–3: as one plain PyTorch process with the whole batch, and from one to the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from dmgan.architectures import assembly, damsm_training, gan_training
from dmgan.config import Config, load_config
from dmgan.model.build import build_encoders
from dmgan.training.batch import TrainingBatch
from dmgan.training.compiled import compile_networks
from dmgan.training.engine import EngineState, MakeEngine, plain_engine
from tests.cluster.worker.team import Team, team_of
from tests.small import ARCHITECTURES, SMALL, batch

WORLD, BATCH, STEPS, HALF = 2, 6, 10, 5
RATES = [
    "optimizer.generator_lr=0.0002",
    "optimizer.discriminator_lr=0.0002",
    "pretrain.lr=0.002",
    "pretrain.dropout=0.5",
]
CONFIG = load_config(
    None,
    [*SMALL, *RATES, "objective.mismatched_pairs=true", "train.batch_statistics=global", f"train.batch_size={BATCH}"],
)
OTHERS = {name: load_config(CONFIG, ARCHITECTURES[name]) for name in ("attngan", "stackgan", "gan-int-cls")}
CPU = torch.device("cpu")
NETWORKS = ("generator", "discriminators", "encoders")


def mine(rank: int, world: int, size: int = BATCH) -> TrainingBatch:
    """A worker's rows of the whole batch."""
    share = size // world
    return batch(size).rows(rank * share, (rank + 1) * share)


class Trainings:
    """The GAN's and the encoders' training at a size for a test, on whatever `make_engine` makes."""

    def __init__(self, make_engine: MakeEngine, rank: int = 0, world: int = 1, config: Config = CONFIG) -> None:
        self.mine = mine(rank, world)
        torch.manual_seed(3)
        frozen = build_encoders(config.model, 20).eval().requires_grad_(False)
        self.gan = gan_training(config, frozen, make_engine, CPU)
        self.average = self.gan.average
        torch.manual_seed(1)
        self.damsm = damsm_training(config, 20, make_engine, CPU, STEPS)
        engines = (self.gan.generator, self.gan.discriminators, self.damsm.encoders)
        self.engines = dict(zip(NETWORKS, engines, strict=True))
        self.losses: list[dict[str, float]] = []

    def run(self, first: int, last: int) -> None:
        for number in range(first, last):
            torch.manual_seed(number)  # alike on all workers, of which each takes its rows of what is dropped
            losses = self.gan.step(self.mine, number).losses | {
                f"pretrain.{k}": v for k, v in self.damsm.step(self.mine, number).losses.items()
            }
            self.losses.append({name: float(value) for name, value in losses.items()})

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, engine in self.engines.items():
            if (state := engine.state()) is not None:
                (folder / name).write_bytes(state.to_bytes())
                torch.save(self.average.module.state_dict(), folder / "average")

    def load(self, folder: Path) -> None:
        for name, engine in self.engines.items():
            engine.load_state(EngineState.from_bytes((folder / name).read_bytes()))
        self.average.module.load_state_dict(torch.load(folder / "average", weights_only=True))

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = {"losses": self.losses}
        for name, engine in self.engines.items():
            with engine.full_weights():
                found |= {f"{name}.{k}": v.detach().clone() for k, v in engine.module.state_dict().items()}
        return found | {f"average.{k}": v.clone() for k, v in self.average.module.state_dict().items()}


def deepspeed(stage: int) -> MakeEngine:
    from cluster.worker.engines import DeepSpeedEngine

    return partial(DeepSpeedEngine, zero_stage=stage)


def worker(rank: int, stage: int, folder: Path, reference: Path) -> None:
    make = deepspeed(stage)
    straight = Trainings(make, rank, WORLD)
    straight.run(0, HALF)
    straight.save(folder / "half")
    straight.run(HALF, STEPS)
    torch.save(straight.result(), folder / f"straight-{rank}.pt")
    straight.load(folder / "half")  # over what later steps left
    straight.losses.clear()
    straight.run(HALF, STEPS)
    torch.save(straight.result(), folder / f"again-{rank}.pt")
    other = Trainings(make, rank, WORLD)
    other.load(reference)
    other.save(folder / "round-trip")
    other.run(HALF, STEPS)
    torch.save(other.result(), folder / f"resumed-{rank}.pt")
    for name, config in OTHERS.items():
        trained = Trainings(make, rank, WORLD, config)
        trained.run(0, HALF)
        torch.save(trained.result(), folder / f"{name}-{rank}.pt")


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("one")
    training = Trainings(plain_engine)
    training.run(0, HALF)
    training.save(folder)
    training.run(HALF, STEPS)
    return training.result(), folder


def states(folder: Path, name: str = "trained", world: int = WORLD) -> list[Any]:
    """What every worker has left in the folder as NAME-RANK.pt."""
    return [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(world)]


def close(found: list[dict[str, Any]], expected: dict[str, Any], first: int = 0) -> None:
    """Losses averaged over workers within 1e-5 relative, and every worker's weights and buffers within 1e-5.

    Of a tensor one element, or one in a thousand, may be up to half an Adam step of 2e-4 away: where a gradient is
    nearly 0 Adam makes whole steps out of its rounding, which differs from one processor to another.
    """
    for number, losses in enumerate(expected["losses"][first:]):
        for name, value in losses.items():
            mean = sum(state["losses"][number][name] for state in found) / len(found)
            assert mean == pytest.approx(value, rel=1e-5, abs=1e-6), (number, name)
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            # The softmax over slots does not see a bias that all keys share (where the rectifier is open), so its
            # gradient is rounding alone, out of which Adam makes steps of the learning rate; nothing else feels them.
            limit = 2 * STEPS * 2e-4 if name.endswith("read.key.0.bias") else 1e-5
            for state in found:
                distance = (state[name] - value).abs().double() - 1e-5 * value.abs()
                astray = int((distance > limit).sum())
                assert astray <= max(1, value.numel() // 1000), f"{name}: {astray} of {value.numel()} elements"
                assert float(distance.max()) <= max(limit, 1e-4), f"{name}: {float(distance.max())} away"


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    for name, value in a.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(b[name], value), name


@pytest.mark.distributed
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_workers_are_one_process_with_the_whole_batch(
    stage: int, team: Team, one_process: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    expected, reference = one_process
    team(worker, stage, tmp_path, reference)

    results = partial(states, tmp_path)
    close(results("straight"), expected)
    # On from its own state: not a bit differs.
    same(results("straight")[0], results("again")[0])
    # One process's state comes back out of the sharded engines as it went in, and trains on as it would have.
    for name in NETWORKS:
        before, after = (EngineState.from_bytes((f / name).read_bytes()) for f in (reference, tmp_path / "round-trip"))
        assert before.steps == after.steps == HALF
        same(before.weights, after.weights)
        for kind, moments in before.moments.items():
            assert moments.keys() == after.moments[kind].keys() and len(moments) > 2
            same(moments, after.moments[kind])
    close(results("resumed"), expected, first=HALF)
    # And the two workers' state goes on in one process without DeepSpeed.
    alone = Trainings(plain_engine)
    alone.load(tmp_path / "half")
    alone.run(HALF, STEPS)
    close([alone.result()], expected, first=HALF)
    for name, config in OTHERS.items():
        one = Trainings(plain_engine, config=config)
        one.run(0, HALF)
        close(results(name), one.result())


def reduced_worker(rank: int, stage: int, folder: Path) -> None:
    """Training with bfloat16 and activation checkpointing."""
    config = load_config(CONFIG, ["train.precision=bfloat16", "train.activation_checkpointing=true"])
    torch.manual_seed(3)
    frozen = build_encoders(config.model, 20).eval().requires_grad_(False)
    gan = gan_training(config, frozen, deepspeed(stage), CPU)
    seen = set()
    for part in gan.generator.module.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    own = mine(rank, WORLD)
    outcomes = [gan.step(own, step) for step in range(4)]
    assert seen == {torch.bfloat16}
    assert all(flag for outcome in outcomes for flag in outcome.finite.values())
    torch.save(
        [{k: float(v) for k, v in outcome.losses.items()} for outcome in outcomes], folder / f"trained-{rank}.pt"
    )


@pytest.mark.distributed
@pytest.mark.parametrize("stage", [1, 3])
def test_bfloat16_and_activation_checkpointing_train_near_float32(
    stage: int, team: Team, one_process: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    team(reduced_worker, stage, tmp_path)
    found = states(tmp_path)
    for number, losses in enumerate(one_process[0]["losses"][: len(found[0])]):
        for name in found[0][0]:
            mean = sum(steps[number][name] for steps in found) / WORLD
            assert mean == pytest.approx(losses[name], rel=0.1, abs=0.05), (number, name)


def accumulate(make_engine: MakeEngine, parts: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
    """Weights after steps on 8 images, two at a time."""
    local = ["objective.negatives=local", "objective.mismatches=local", "train.batch_statistics=local"]
    config = load_config(CONFIG, [*local, f"train.accumulate={parts}", "train.batch_size=2"])
    torch.manual_seed(3)
    frozen = build_encoders(config.model, 20).eval().requires_grad_(False)
    gan = gan_training(config, frozen, make_engine, CPU)
    own = mine(rank, world, size=8)
    losses = [{k: float(v) for k, v in gan.step(own, step).losses.items()} for step in range(HALF)]
    found: dict[str, Any] = {"losses": losses}
    for name, engine in {"generator": gan.generator, "discriminators": gan.discriminators}.items():
        with engine.full_weights():
            state = {k: v.detach().clone() for k, v in engine.module.state_dict().items()}
        # Each worker's running statistics are of its own batches; the mean's way differs, its weights do not.
        found |= {f"{name}.{k}": v for k, v in state.items() if "running" not in k and "tracked" not in k}
    return found


def accumulating_worker(rank: int, world: int, stage: int, folder: Path) -> None:
    torch.save(accumulate(deepspeed(stage), 4 // world, rank, world), folder / f"trained-{rank}.pt")


@pytest.mark.distributed
@pytest.mark.parametrize(("world", "stage"), [(4, 0), (2, 1), (2, 3)])
def test_accumulated_parts_are_as_many_workers(world: int, stage: int, team: Team, tmp_path: Path) -> None:
    expected = accumulate(plain_engine, 4)
    if world == team.workers:
        team(accumulating_worker, world, stage, tmp_path)
    else:
        with team_of(world, tmp_path) as larger:
            larger(accumulating_worker, world, stage, tmp_path)
    close(states(tmp_path, world=world), expected)


def overlapping_worker(rank: int, stage: int, folder: Path) -> None:
    """Training whose gradients are sent in parts, of which each network has several."""
    from cluster.worker import engines

    with patch.object(engines, "BUCKET", 500):
        trained = Trainings(partial(deepspeed(stage), overlap=True), rank, WORLD)
    trained.run(0, STEPS)
    torch.save(trained.result(), folder / f"trained-{rank}.pt")


def compiled_worker(rank: int, stage: int, folder: Path) -> None:
    """Training of what torch.compile traces, without a compiler behind it."""
    config = load_config(CONFIG, ["train.compile=true"])
    with patch.object(assembly, "compile_networks", partial(compile_networks, backend="eager")):
        trained = Trainings(deepspeed(stage), rank, WORLD, config)
    torch._dynamo.reset()  # of an earlier test in this process
    torch._dynamo.utils.counters.clear()
    trained.run(0, STEPS)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 3
    torch.save(trained.result(), folder / f"trained-{rank}.pt")


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("other_worker", "stage"),
    [
        *((overlapping_worker, stage) for stage in (1, 2, 3)),
        *((compiled_worker, stage) for stage in (0, 1, 2)),
    ],
)
def test_gradients_sent_in_parts_and_compiled_networks_are_the_same(
    other_worker: Callable[..., None],
    stage: int,
    team: Team,
    one_process: tuple[dict[str, Any], Path],
    tmp_path: Path,
) -> None:
    team(other_worker, stage, tmp_path)
    close(states(tmp_path), one_process[0])
