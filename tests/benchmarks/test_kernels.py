"""A whole step on a GPU that is not there: everything on the device, and nothing that the host waits for."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest
import torch

from benchmarks.fake_gpu import HostWaitsError, on_fake_gpu
from benchmarks.kernels import Kernels, damsm_kernels, gan_kernels, main
from tests.small import SMALL

pytestmark = pytest.mark.skipif(
    not torch.version.cuda and shutil.which("g++") is None, reason="no C++ compiler for the fake GPU"
)
LOCAL = ["objective.negatives=local", "objective.mismatches=local", "train.batch_statistics=local"]
# Of the released networks at a size for a test: every refinement and discriminator, Inception left out.
MORE = [*SMALL, "model.base_size=64", "model.refinements=2", "model.image_encoder=compact"]


def every_step(settings: list[list[str]]) -> list[dict[str, int]]:
    """Kernels of both trainings' steps with each of the settings, in one process."""
    return [{"gan": gan_kernels(None, each).total(), "damsm": damsm_kernels(None, each).total()} for each in settings]


def test_both_trainings_keep_to_the_device_and_never_wait() -> None:
    kinds = [
        [],
        ["train.precision=bfloat16"],
        ["train.activation_checkpointing=true"],
        [*LOCAL, "train.accumulate=2", "train.batch_size=4"],
        ["objective.mismatched_pairs=true"],
    ]
    plain, *others = on_fake_gpu(every_step, [[*MORE, *kind] for kind in kinds])
    assert 0 < plain["damsm"] < plain["gan"]
    checkpointed, accumulated = others[1], others[2]
    assert plain["gan"] < checkpointed["gan"] < accumulated["gan"]  # refinements, or all, are computed again


def steps_of_four_workers(settings: list[list[str]]) -> list[dict[str, int]]:
    """Of one of them; its messages go nowhere, and as much as they would bring is there."""
    nothing: Any = lambda *_, **__: None  # noqa: E731
    with ExitStack() as stack:
        stack.enter_context(patch("dmgan.model.collective.world_size", lambda: 4))
        for name in ("all_gather", "all_gather_into_tensor", "all_reduce"):
            stack.enter_context(patch.object(torch.distributed, name, nothing))
        return every_step(settings)


def test_a_worker_of_several_keeps_to_its_device_and_never_waits() -> None:
    kinds = [["train.batch_statistics=global"], ["train.batch_statistics=global", "train.precision=bfloat16"], LOCAL]
    (exact, reduced, local), (alone,) = (
        on_fake_gpu(steps_of_four_workers, [[*MORE, *kind] for kind in kinds]),
        on_fake_gpu(every_step, [[*MORE, *LOCAL]]),
    )
    assert local == alone
    assert all(counted[stage] > alone[stage] for counted in (exact, reduced) for stage in ("gan", "damsm"))


def copies_to_the_host() -> None:
    with Kernels():
        torch.ones(3, device="cuda").cpu()


def chooses_by_contents() -> None:
    with Kernels():
        x = torch.ones(3, device="cuda")
        x[x > 0]


def counts() -> dict[str, int]:
    x = torch.ones(3, device="cuda")
    with Kernels() as kernels:
        (x.view(3, 1).expand(3, 2) + 1).sum()
        torch.ones(3) * 2  # on the host
    return dict(kernels.counts)


def test_what_waits_is_found_and_what_starts_no_kernel_is_not_counted() -> None:
    with pytest.raises(HostWaitsError, match="_to_copy"):
        on_fake_gpu(copies_to_the_host)
    with pytest.raises(HostWaitsError, match="asks for a tensor's contents"):
        on_fake_gpu(chooses_by_contents)
    assert on_fake_gpu(counts) == {"add": 1, "sum": 1}


def test_the_table_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    """The released sizes at the paper's batch: docs/speed.md gives these numbers."""
    assert main(["--preset", "cub", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    assert found["train"]["float32"] <= 1190 and found["train"]["bfloat16"] <= 1527
    assert found["pretrain"]["float32"] <= 326 and found["pretrain"]["bfloat16"] <= 337
    assert lines[2].startswith(f"| train | float32 | {found['train']['float32']:,} | ")
    assert main(["--preset", "cubs"]) == 2
