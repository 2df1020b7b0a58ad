"""`train.compile`: no breaks in the graphs, the same training, names of weights as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dmgan.config import ConfigError, load_config
from dmgan.training import compiled
from dmgan.training.gan import GanTraining, Part, draw_noise
from dmgan.training.outcome import pyramid
from tests.dmgan.training.test_gan import gan
from tests.small import SMALL, batch

CPU = torch.device("cpu")


def inputs(training: GanTraining) -> tuple[Part, list[torch.Tensor]]:
    given, generator = batch(), training.generator.module
    dims: Any = (generator.noise_dim, generator.condition_dim)
    noise, eps = draw_noise(dims, seed=0, step=0, batch_size=len(given))
    return Part(training.encode(given), given.images, noise, eps), pyramid(given.images, [8, 16])


@pytest.mark.parametrize(
    ("precision", "trunk"), [("float32", "compact"), ("bfloat16", "compact"), ("float32", "inception-v3")]
)
def test_each_network_is_one_graph(precision: str, trunk: str) -> None:
    training = gan(load_config(None, [*SMALL, f"train.precision={precision}", f"model.image_encoder={trunk}"]))
    part, real = inputs(training)
    text = part.text
    calls = {
        training.generator.module: (part.noise, text.sentence, text.words, text.padding_mask, part.eps),
        training.discriminators.module: (real, text.sentence),
        training.encoders.image: (real[-1],),
    }
    for network, arguments in calls.items():
        with training.autocast():
            found = torch._dynamo.explain(network)(*arguments)
        assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons
        torch._dynamo.reset()


@pytest.mark.parametrize("parts", [1, 2])
def test_a_compiled_training_is_the_same(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    local = ["objective.negatives=local", "objective.mismatches=local", "train.batch_statistics=local"]
    settings = [*SMALL, *local, f"train.accumulate={parts}", f"train.batch_size={6 // parts}"]
    plain, traced = (gan(load_config(None, settings)) for _ in range(2))
    torch._dynamo.reset()
    on = load_config(None, [*settings, "train.compile=true"])
    networks = traced.generator.module, traced.discriminators.module, traced.encoders.image
    compiled.compile_networks(on, CPU, *networks, backend="eager")  # what is compiled, without a compiler
    for step in range(3):
        a, b = plain.step(batch(), step).losses, traced.step(batch(), step).losses
        assert all(float(b[name]) == pytest.approx(float(value), rel=1e-5) for name, value in a.items())
    for ours, theirs in ((plain.generator, traced.generator), (plain.discriminators, traced.discriminators)):
        expected, found = ours.module.state_dict(), theirs.module.state_dict()
        assert list(expected) == list(found)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_without_a_compiler_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    with pytest.raises(ConfigError, match=r"train.compile=true: no C\+\+ compiler is installed: expected"):
        gan(load_config(None, [*SMALL, "train.compile=true"]))
    with pytest.raises(ConfigError, match=r"train.compile=true: expected deepspeed.zero_stage=0, 1 or 2"):
        load_config(None, ["train.compile=true", "deepspeed.zero_stage=3"])
