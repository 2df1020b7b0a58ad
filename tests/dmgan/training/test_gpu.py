"""What only a GPU can show: `make gpu`."""

from __future__ import annotations

import pytest
import torch

from dmgan.architectures import damsm_training, gan_training
from dmgan.config import load_config
from dmgan.model.build import build_encoders
from dmgan.model.layers import BatchNorm
from dmgan.model.text_encoder import CaptionLSTM
from dmgan.training.ahead import ahead
from dmgan.training.engine import EngineState, plain_engine
from tests.small import SMALL, batch

pytestmark = pytest.mark.gpu

GPU, CPU = torch.device("cuda"), torch.device("cpu")
EXACT = [*SMALL, "train.tf32=false", "pretrain.dropout=0"]


def losses(device: torch.device, settings: list[str], steps: int = 3) -> list[dict[str, float]]:
    config = load_config(None, settings)
    torch.manual_seed(0)
    encoders = build_encoders(config.model, 20).to(device).eval().requires_grad_(False)
    gan = gan_training(config, encoders, plain_engine, device)
    torch.manual_seed(1)
    damsm = damsm_training(config, 20, plain_engine, device, steps)
    found = []
    for step, (_, given) in enumerate(ahead([("", batch())] * steps, device, depth=1)):
        outcomes = gan.step(given, step).losses, damsm.step(given, step).losses
        found.append({k: float(v) for each in outcomes for k, v in each.items()})
    return found


@pytest.mark.parametrize("more", [[], ["train.activation_checkpointing=true"], ["train.compile=true"]])
def test_a_gpu_trains_as_the_processor(more: list[str]) -> None:
    expected = losses(CPU, EXACT)
    for ours, theirs in zip(losses(GPU, [*EXACT, *more]), expected, strict=True):
        assert all(ours[name] == pytest.approx(value, rel=1e-3, abs=1e-3) for name, value in theirs.items())


def test_bfloat16_trains_near_float32() -> None:
    exact, reduced = losses(GPU, EXACT), losses(GPU, [*EXACT, "train.precision=bfloat16"])
    for ours, theirs in zip(reduced, exact, strict=True):
        assert all(ours[name] == pytest.approx(value, rel=0.1, abs=0.05) for name, value in theirs.items())


def test_nothing_in_a_step_waits_for_the_device() -> None:
    config = load_config(None, SMALL)
    encoders = build_encoders(config.model, 20).to(GPU).eval().requires_grad_(False)
    training = gan_training(config, encoders, plain_engine, GPU)
    given = batch().to(GPU)
    training.step(given, 0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.step(given, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_batch_norm_and_lstm_are_the_processors() -> None:
    torch.manual_seed(0)
    for module, inputs in (
        (BatchNorm(5), (torch.randn(6, 5, 4, 4),)),
        (CaptionLSTM(6, 4), (torch.randn(3, 9, 6), torch.tensor([5, 9, 1]))),
    ):
        there = type(module)(*((5,) if isinstance(module, BatchNorm) else (6, 4))).to(GPU)
        there.load_state_dict(module.state_dict())
        for ours, theirs in zip(_run(there, inputs, GPU), _run(module, inputs, CPU), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_moments_of_two_workers_are_those_of_both_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have the same batch, so what the other one sends is known."""
    torch.manual_seed(0)
    x, module = torch.randn(6, 5, 4, 4), BatchNorm(5)
    torch.nn.init.normal_(module.weight)
    there = BatchNorm(5).to(GPU)
    there.load_state_dict(module.state_dict())
    output, grad, of_weight, of_bias, *expected = _run(module, (torch.cat([x, x]),), CPU)
    monkeypatch.setattr("dmgan.model.collective.world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_into_tensor", lambda whole, mine: whole.copy_(mine))
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda sums: sums.mul_(2))
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        there.load_state_dict(module.state_dict() | {"running_mean": torch.zeros(5), "running_var": torch.ones(5)})
        there.num_batches_tracked.zero_()
        there.zero_grad()
        found = _run(there, (given,), GPU)
        for ours, theirs in zip(found, [output[:6], grad[:6], of_weight / 2, of_bias / 2, *expected], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def _run(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], device: torch.device) -> list[torch.Tensor]:
    first = inputs[0].to(device).requires_grad_()
    found = module(first, *(tensor.to(device) for tensor in inputs[1:]))
    outputs = found if isinstance(found, tuple) else (found,)
    torch.stack([output.square().sum() for output in outputs]).sum().backward()
    kept = [*outputs, first.grad, *(p.grad for p in module.parameters()), *module.buffers()]
    return [tensor.detach().cpu() for tensor in kept if tensor is not None]


def test_a_state_goes_to_the_gpu_and_back() -> None:
    config = load_config(None, SMALL)
    encoders = build_encoders(config.model, 20).to(GPU).eval().requires_grad_(False)
    training = gan_training(config, encoders, plain_engine, GPU)
    training.step(batch().to(GPU), 0)
    state = training.generator.state()
    assert state is not None
    training.generator.load_state(EngineState.from_bytes(state.to_bytes()))
    training.step(batch().to(GPU), 1)
    again = training.generator.state()
    assert again is not None and again.steps == state.steps + 1
