from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from cluster.worker.health import Health, NonFiniteError
from dmgan.config import load_config
from dmgan.runs.run import Run
from dmgan.training.engine import PlainEngine
from dmgan.training.gan import GanTraining
from dmgan.training.outcome import Outcome
from tests.cluster.worker.team import Team
from tests.cluster.worker.test_engines import Trainings, deepspeed
from tests.dmgan.training.test_gan import gan
from tests.small import SMALL, batch


def training() -> tuple[GanTraining, dict[str, Any]]:
    trained = gan(load_config(None, SMALL))
    return trained, {"generator": trained.generator, "discriminators": trained.discriminators}


def test_a_healthy_training_says_how_it_is(tmp_path: Path) -> None:
    trained, engines = training()
    health = Health(Run(str(tmp_path)), "train")
    for step in range(3):
        health.add(step + 1, trained.step(batch(), step), ["a"])
    statistics, warnings = health.statistics()
    assert warnings == [] and set(statistics) == {"accuracy_0", "accuracy_1", "diversity"}
    assert all(0 <= value <= 2 for value in statistics.values())
    health.check(engines)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("where", "first"),
    [
        ("image", "the loss discriminator_0 is"),
        ("discriminator gradient", "the gradients of discriminators are"),
        ("generator gradient", "the gradients of generator are"),
    ],
)
def test_the_first_that_is_not_finite_is_named_and_dumped(tmp_path: Path, where: str, first: str) -> None:
    trained, engines = training()
    health = Health(Run(str(tmp_path)), "train")
    health.add(1, trained.step(batch(), 0), ["a"])
    data = batch()
    network: PlainEngine | None = None
    if where == "image":  # of one step: everything after it is spoilt too
        for p in trained.discriminators.module.parameters():
            p.data.fill_(float("nan"))
            break
    else:
        network = engines["discriminators" if where.startswith("disc") else "generator"]
        weight = next(p for p in network.module.parameters() if p.dim() > 1)
        hook = weight.register_hook(lambda grad: grad * float("inf"))
    health.add(2, trained.step(data, 1), ["b", "c"])
    if network is not None:
        hook.remove()
    health.add(3, trained.step(batch(), 2), ["d"])
    with pytest.raises(NonFiniteError, match=rf"train, step 2: {first} not finite; see .*report.json") as error:
        health.check(engines)
    assert "\n" not in str(error.value)
    folder = tmp_path / "dumps" / "train-00000002"
    report = json.loads((folder / "report.json").read_text())
    assert report["first"] == first and report["step"] == 2
    assert [step["keys"] for step in report["of rank 0"]] == [["a"], ["b", "c"], ["d"]]
    assert report["non-finite weights"] and (folder / "generator.safetensors").exists()


def outcome(accuracy: float, diversity: float) -> Outcome:
    statistics = {"accuracy_0": torch.tensor(accuracy), "diversity": torch.tensor(diversity)}
    return Outcome({"x": torch.tensor(1.0)}, {"x": torch.tensor(True)}, statistics)


def test_a_discriminator_that_has_won_and_a_collapsed_generator_are_warned_of(tmp_path: Path) -> None:
    health = Health(Run(str(tmp_path)), "train")
    said = []
    for step, (accuracy, diversity) in enumerate([(1.0, 0.5)] * 5 + [(0.7, 0.02)] * 3 + [(0.8, 0.6)]):
        health.add(step, outcome(accuracy, diversity), [])
        said.append(health.statistics()[1])
        health.check({})
    assert [len(warnings) for warnings in said] == [0, 0, 0, 0, 1, 0, 0, 1, 0]
    assert said[4] == ["discriminator 0 has won: tells 100.0 % of the images apart"]
    assert said[7] == ["the generator has collapsed: its images differ 2.0 % as much as real ones do"]


WORLD = 2


def spoilt_worker(rank: int, stage: int, folder: Path) -> None:
    """For each network and value a sound step, and one in which one gradient of the last worker is not finite."""
    said: dict[str, str] = {}
    trained = Trainings(deepspeed(stage), rank, WORLD)
    steps = dict.fromkeys(("generator", "discriminators"), trained.gan.step) | {"encoders": trained.damsm.step}
    trained.run(0, 1)
    trained.save(folder / "sound")
    dist.barrier()
    for network, step in steps.items():
        for value in (float("inf"), float("nan")):
            health = Health(Run(str(folder / f"{network}-{value}")), "train")
            health.add(1, step(trained.mine, 1), ["a"])
            health.check(trained.engines)
            weight = [p for p in trained.engines[network].module.parameters() if p.requires_grad][-1]
            # Of one worker, where the losses of this network are still finite.
            hook = weight.register_hook(partial(torch.full_like, fill_value=value)) if rank == WORLD - 1 else None
            health.add(2, step(trained.mine, 2), ["b"])
            with pytest.raises(NonFiniteError) as error:
                health.check(trained.engines)
            said[f"{network} {value}"] = str(error.value)
            if hook is not None:
                hook.remove()
            trained.load(folder / "sound")
    (folder / f"{rank}.json").write_text(json.dumps(said))


@pytest.mark.distributed
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_gradient_that_is_not_finite_is_found_at_every_zero_stage(stage: int, team: Team, tmp_path: Path) -> None:
    """DeepSpeed leaves such an update out by itself at stages 1 to 3, and weights and losses stay finite."""
    team(spoilt_worker, stage, tmp_path)
    for rank in range(WORLD):
        said = json.loads((tmp_path / f"{rank}.json").read_text())
        assert len(said) == 6
        for case, line in said.items():
            network = case.split()[0]
            assert line.startswith(f"train, step 2: the gradients of {network} are not finite; see "), (case, line)
