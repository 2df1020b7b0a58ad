"""The engine of one process: Adam, whatever the memory format of the weights, and from where it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dmgan.training.engine import PlainEngine, plain_engine

BETAS = (0.5, 0.999)


def network(memory_format: torch.memory_format) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 5, 3), nn.LeakyReLU(0.2), nn.Conv2d(5, 2, 3))
    return made.to(memory_format=memory_format)  # type: ignore[call-overload, no-any-return]


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, 8, 8, generator=generator) for _ in range(6)]


def trained(engine: PlainEngine, inputs: list[Tensor]) -> PlainEngine:
    for x in inputs:
        engine.backward(engine(x).square().mean())
        engine.step()
    return engine


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_step_is_that_of_plain_adam_also_after_it_was_stored(memory_format: torch.memory_format) -> None:
    expected = network(memory_format)
    plain = torch.optim.Adam(expected.parameters(), 0.01, BETAS, foreach=False, fused=False)
    for x in batches():
        plain.zero_grad()
        expected(x).square().mean().backward()
        plain.step()
    first = trained(plain_engine(network(memory_format), lr=0.01, betas=BETAS, batch_size=2), batches()[:3])
    second = plain_engine(network(memory_format), lr=0.01, betas=BETAS, batch_size=2)
    second.load_state(first.state())
    trained(second, batches()[3:])
    for name, weight in expected.named_parameters():
        torch.testing.assert_close(second.module.get_parameter(name), weight, rtol=1e-5, atol=1e-6)
