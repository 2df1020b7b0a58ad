"""Sizes are what the networks and a checkpoint really are; the command line says where each figure comes from."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cluster.sizing.footprint import Footprint, footprint
from cluster.sizing.link import Link, Value, network_bytes
from cluster.sizing.scaling import WORKERS, Job, first_above, scaling_report, waiting
from cluster.sizing.size import main
from datasets.manifest import Manifest
from dmgan.architectures import build_generator
from dmgan.config import load_config
from dmgan.model.build import build_discriminators
from dmgan.runs.metrics import MetricsLine
from dmgan.runs.run import Run
from dmgan.training.engine import PlainEngine
from tests.small import SMALL


def test_parameters_and_checkpoints_are_counted_as_they_are() -> None:
    config = load_config("quickstart", SMALL)
    counted = footprint(config)
    modules = build_generator(config.model), build_discriminators(config.model)
    assert (counted.generator, counted.discriminators) == tuple(sum(p.numel() for p in m.parameters()) for m in modules)
    written = len(safetensors.torch.save(dict(modules[0].state_dict())))  # the average
    for module in modules:
        engine = PlainEngine(module, 1e-3, (0.5, 0.9))
        engine.backward(torch.stack([p.sum() for p in module.parameters()]).sum())
        engine.step()
        written += len(engine.state().to_bytes())
    tensors = 4 * sum(len(module.state_dict()) for module in modules)
    assert counted.checkpoint_bytes <= written <= counted.checkpoint_bytes + 200 * tensors  # names and shapes of each


def test_the_papers_networks() -> None:
    counted = footprint(load_config("cub"))
    keys = Path(__file__).parents[2] / "data" / "keys" / "totals.tsv"  # of the authors' released networks
    rows = [line.split("\t") for line in keys.read_text().splitlines()]
    released = {row[0]: int(row[rows[0].index("params_requires_grad")]) for row in rows[1:]}
    assert counted.generator == released["bird_netG"]
    assert counted.discriminators == sum(released[f"bird_netD{i}"] for i in range(3))


def test_activations_grow_with_batch_and_captions_and_shrink_as_promised() -> None:
    def kept(batch: int, workers: int = 1, *more: str) -> int:
        return footprint(
            load_config("quickstart", [*SMALL, f"train.batch_size={batch}", *more]), workers
        ).activation_bytes

    assert kept(4) < kept(8) < kept(8, 2)
    # Twice and three times the captions: the same again. Only DAMSM's scores depend on the other workers.
    assert kept(8, 2) - kept(8) == kept(8, 3) - kept(8, 2)
    assert kept(8, 2, "objective.negatives=local") == kept(8)
    assert kept(4, 1, "train.activation_checkpointing=true") < 0.9 * kept(4)


def test_zero_stages_shard_what_they_shard() -> None:
    cost = Footprint(1000, 3000, 0, 0, 0, 0, 0)
    assert cost.state_bytes(0, 8) == 4 * 4000 * 5
    rising = [cost.state_bytes(stage, 1000) for stage in (2, 1, 0)]
    assert rising == sorted(rising) and cost.state_bytes(3, 1000) == pytest.approx(4 * 4000 * 2, rel=0.01)
    assert cost.state_bytes(1, 2) == 4 * 4000 * (1 + 1.5 + 1 + 1)
    assert network_bytes(cost, 1, 1) == 0 and network_bytes(cost, 0, 4) == 4 * 4000 * 2 * 3 / 4
    assert network_bytes(cost, 1, 4) == network_bytes(cost, 2, 4) == 4 * 4000 * 3 * 3 / 4
    assert network_bytes(cost, 3, 4) > network_bytes(cost, 1, 4)


def test_a_node_and_nodes_talk_over_different_links() -> None:
    link = Link(Value(100e9, "given"), Value(10e9, "given"), Value(1e-5, "given"), gpus_per_node=8)
    assert link.seconds(1e9, 100, 1) == 0
    assert link.seconds(1e9, 100, 8) == pytest.approx(0.01 + 0.001)
    assert link.seconds(1e9, 100, 16) == pytest.approx(0.1 + 0.001)
    assert replace(link, gpus_per_node=16).seconds(1e9, 0, 16) == pytest.approx(0.01)


def job(*settings: str, seconds: float = 0.1) -> Job:
    """46 million parameters, 30 normalisations, eight GPUs a node."""
    cost = Footprint(21_000_000, 25_000_000, 0, 0, 0, 0, 30)
    link = Link(Value(150e9, "given"), Value(12.5e9, "given"), Value(30e-6, "given"), gpus_per_node=8)
    return Job(load_config("cub", settings), cost, link, seconds)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_waiting_grows_with_workers_and_shrinks_with_overlap(stage: int) -> None:
    assert waiting(job(), stage, 1, overlap=True) == waiting(job(), stage, 1, overlap=False) == 0
    for few, more in pairwise(WORKERS[1:]):
        assert waiting(job(), stage, few, overlap=False) <= waiting(job(), stage, more, overlap=False)
        overlapped, not_overlapped = (waiting(job(), stage, more, overlap) for overlap in (True, False))
        assert 0 < overlapped < not_overlapped or (overlapped == not_overlapped and stage == 0)
    # No more is hidden than there is to hide behind.
    little = job(seconds=1e-6)
    assert waiting(little, stage, 64, overlap=True) == pytest.approx(
        waiting(little, stage, 64, overlap=False), abs=1e-6
    )


def test_from_how_many_workers_on_a_step_waits_and_what_moves_it() -> None:
    assert first_above(job(seconds=0.5), 1, overlap=False) == 16  # the first with more than one node
    assert first_above(job(seconds=0.5), 1, overlap=True) is None  # all is hidden but the weights and small messages
    assert first_above(job(), 1, overlap=True) == 16  # the weights, gathered after the update, are not
    report = "\n".join(scaling_report(job(seconds=0.5)))
    assert "| 512 | " in report
    assert "ZeRO 1: waiting is more than 5% of a step from 16 GPUs on; overlapped nowhere up to 512 GPUs." in report
    assert "- deepspeed.overlap=always: nowhere up to 512 GPUs" in report
    assert "- train.batch_size=64: nowhere up to 512 GPUs" in report


def lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    capsys.readouterr()
    assert main([*arguments, "--markdown"]) == 0
    rows = [row.strip("| ").split(" | ") for row in capsys.readouterr().out.splitlines()[2:]]
    return {what: (shown, origin) for what, shown, origin in rows}


def test_what_is_assumed_is_said_and_what_is_given_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assumed = lines(["--preset", "coco", "--gpus", "64"], capsys)
    assert assumed["one GPU alone"][1].startswith("assumed: ") and assumed["gradients a step"] == (
        "186.99 MB",
        "counted",
    )
    assert assumed["a stored sample"][1].startswith("assumed") and "120 epochs" in assumed
    assert {f"memory at ZeRO {stage}" for stage in range(4)} <= set(assumed)
    processor = lines(["--preset", "cub", "--gpus", "2", "--device", "cpu"], capsys)
    assert processor["one GPU alone"][0].startswith("0.8 images/s") and processor["one GPU alone"][1].startswith(
        "measured"
    )
    smaller = lines(["--preset", "birds-2", "--gpus", "2", "--device", "cpu"], capsys)
    assert smaller["one GPU alone"][1].startswith("assumed: as cub in float32 at 256 pixels: ")
    given = lines(
        ["--preset", "coco", "--gpus", "1", "--images-per-second", "82.783", "--set", "train.batch_size=2"], capsys
    )
    assert given["one GPU alone"][1] == "given" and given["network of a node"][0].startswith("0.0 ")
    assert float(assumed["network of a node"][0].split()[0]) > 0
    assert given["1 GPUs"][0] == "83 images/s, 100 % of so many alone"
    assert given["120 epochs"][0].startswith("1.39 days, 4,966,920 steps of 2 images")  # 82,783 · 120 / 82.783 / 86,400


def test_what_can_be_measured_is(
    packed: tuple[str, Manifest], untrained: tuple[Run, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [part for assignment in SMALL for part in ("--set", assignment)]
    here = ["--preset", "quickstart", "--gpus", "2", "--data", packed[0], "--storage", str(tmp_path), *small]
    measured = lines([*here, "--measure", "1"], capsys)
    assert measured["one GPU alone"][1].startswith("measured: here, on CPU")
    assert measured["a checkpoint"][1].endswith(f"measured: with 67.11 MB to {tmp_path}") and not list(
        tmp_path.iterdir()
    )
    size = sum(shard.size for shard in packed[1].split("train").shards) / 40
    assert measured["a stored sample"] == (f"{size / 1e3:.1f} kB", f"measured: by the manifest of {packed[0]}")
    assert "before: 600 of encoders" in measured
    run = Run(str(tmp_path / "run"))
    run.write_config(load_config("quickstart", ["train.workers=4"]))
    line = MetricsLine(stage="train", step=1, epoch=0, images=9, images_per_second=100.0, losses={})
    Path(run.path("metrics.jsonl")).write_text(line.model_dump_json() + "\n")
    of_run = lines([*here, "--run", run.url], capsys)
    assert of_run["one GPU alone"][0].startswith("25.0 images/s") and "on 4 workers" in of_run["one GPU alone"][1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpus", "0"], "--gpus 0: expected more than 0"),
        (["--gpus", "100000"], "--gpus 100000: 1000000 images a step, the split has 82,783"),
        (["--preset", "nowhere"], "--config nowhere: neither a preset"),
        (["--data", "nowhere"], "manifest.json: not found"),
        (["--run", "nowhere"], "run.yaml: not found"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("size: ") and said in line
