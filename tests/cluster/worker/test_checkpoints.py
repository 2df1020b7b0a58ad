from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.worker.checkpoints import Checkpoints, copy_checkpoint
from cluster.worker.position import Position
from cluster.worker.state import CheckpointState, SavedFile
from datasets.plan import Leg
from datasets.storage import StorageError
from dmgan.config import load_config
from dmgan.runs.run import Run


def state(step: int, stage: str = "train") -> CheckpointState:
    return CheckpointState(stage=stage, position=Position(1, 2, 30, step=step), seed=0, config={})


def save(checkpoints: Checkpoints, step: int, stage: str = "train") -> None:
    contents = {name: f"{name} at {step}".encode() * 100 for name in ("generator", "discriminators")}
    files = {name: (lambda c=content: c) for name, content in contents.items()}  # type: ignore[misc]
    checkpoints.save(state(step, stage), files, {"generator.safetensors": lambda: str(step).encode()})
    checkpoints.wait()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_the_newest_few_stay_and_the_exports_are_the_newest(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Run(str(tmp_path)), keep=2)
    save(checkpoints, 900, stage="pretrain")
    for step in (5, 10, 15):
        save(checkpoints, step)
    assert names(tmp_path) == ["train-00000010", "train-00000015"]
    assert (tmp_path / "generator.safetensors").read_bytes() == b"15"
    assert [name for name, _ in checkpoints.states("train")] == ["train-00000015", "train-00000010"]
    assert checkpoints.newest_intact("pretrain") is None


@pytest.mark.parametrize(
    "damage", ["a flipped byte", "a cut file", "a missing file", "no state", "half a state", "another step", "deep"]
)
def test_a_torn_or_corrupt_checkpoint_is_passed_over_with_a_warning(tmp_path: Path, damage: str) -> None:
    said: list[str] = []
    checkpoints = Checkpoints(Run(str(tmp_path)), keep=3, warn=said.append)
    for step in (5, 10):
        save(checkpoints, step)
    newest = tmp_path / "checkpoints" / "train-00000010"
    assert checkpoints.newest_intact("train") == newest.name and not said
    content = bytearray((newest / "generator").read_bytes())
    if damage == "a flipped byte":
        content[50] ^= 1
        (newest / "generator").write_bytes(content)
    elif damage == "a cut file":
        (newest / "generator").write_bytes(content[:-1])
    elif damage == "a missing file":
        (newest / "discriminators").unlink()
    elif damage == "no state":
        (newest / "state.json").unlink()  # what a kill in the middle leaves: nothing to warn of
    elif damage == "another step":
        (newest / "state.json").write_text((newest / "state.json").read_text().replace('"step": 10', '"step": 18'))
    else:
        (newest / "state.json").write_text('{"stage": "train", ' if damage == "half a state" else "[" * 100000)
    assert checkpoints.newest_intact("train") == "train-00000005"
    assert (len(said) == 1 and str(newest) in said[0] and "checkpoint before" in said[0]) or damage == "no state"
    save(checkpoints, 10)  # training comes by again
    assert checkpoints.newest_intact("train") == newest.name


def test_what_could_not_be_written_is_said_at_the_next_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(Run(str(tmp_path)), keep=2)
    (tmp_path / "checkpoints").write_text("a file in the way")
    checkpoints.save(state(1), {"generator": bytes}, {})
    with pytest.raises(StorageError, match="checkpoints"):
        checkpoints.wait()


FILES = {"generator": SavedFile(sha256="0" * 64, size=1)}
SHAPES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 30)), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(samples=st.integers(30, 200), shapes=SHAPES, epochs=st.integers(1, 4))
def test_a_position_counts_what_any_numbers_of_workers_did(
    samples: int, shapes: list[tuple[int, int, int]], epochs: int
) -> None:
    position = Position(*shapes[0][:2], samples)
    images = steps = 0
    for world, batch_size, count in shapes:
        position = position.with_workers(world, batch_size)
        end = position.steps(epochs, None)
        for _ in range(min(count, end - position.step)):
            before = position
            position = position.after_step()
            steps, images = steps + 1, images + world * batch_size
            assert position.progress >= before.progress and position.left > 0
        saved = CheckpointState(stage="train", position=position, seed=0, config={}, files=FILES)
        assert CheckpointState.from_bytes(saved.to_bytes()) == saved
        assert (position.step, position.images) == (steps, images)
        if position.step == end:
            assert position.epoch == epochs
    assert sum(leg.samples for leg in position.legs) <= samples
    alone = Position(2, 5, samples, step=3, epoch=1, batches=1, legs=(Leg(3, 5, 1),))
    assert alone.with_workers(2, 5) == alone
    assert alone.with_workers(1, 4).legs == (Leg(3, 5, 1), Leg(2, 5, 1))


def test_a_run_goes_on_from_a_checkpoint_of_another(tmp_path: Path) -> None:
    theirs, mine = Run(str(tmp_path / "theirs")), Run(str(tmp_path / "mine"))
    theirs.write_config(load_config())
    for file in ("vocabulary.json", "encoders.safetensors"):
        theirs.write_json(file, {})
    with pytest.raises(StorageError, match="no checkpoint of the GAN to go on from"):
        copy_checkpoint(theirs, mine, 5)
    for run, steps in ((theirs, (5, 10)), (mine, (10, 15))):
        checkpoints = Checkpoints(run, keep=5)
        for step in steps:
            files = {"average.safetensors": lambda text=f"{run.name} {step}": text.encode()}  # type: ignore[misc]
            checkpoints.save(state(step), files, {})
            checkpoints.wait()
    assert copy_checkpoint(theirs, mine, 5) == 5
    assert names(tmp_path / "mine") == ["train-00000005"]
    assert (tmp_path / "mine" / "generator.safetensors").read_bytes() == b"theirs 5" and mine.trained_steps() == 5
    assert copy_checkpoint(theirs, mine, 7) == 10  # pruned: the newest there is
    assert Checkpoints(mine).newest_intact("train") == "train-00000010"
