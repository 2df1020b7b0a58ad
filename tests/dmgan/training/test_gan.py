from __future__ import annotations

import pytest
import torch

from dmgan.architectures import gan_training
from dmgan.config import Config, load_config
from dmgan.model.build import build_encoders
from dmgan.model.layers import SpectralNormConv2d
from dmgan.training.damsm import DamsmTraining, one_cycle
from dmgan.training.engine import PlainEngine, plain_engine
from dmgan.training.gan import GanTraining, diversity, draw_noise
from dmgan.training.objectives import discriminator_loss
from dmgan.training.outcome import pyramid
from tests.small import ARCHITECTURES, SMALL, batch


def gan(config: Config) -> GanTraining:
    """On one process, with everything as `config` says."""
    torch.manual_seed(0)
    encoders = build_encoders(config.model, 20).eval().requires_grad_(False)
    return gan_training(config, encoders, plain_engine, torch.device("cpu"))


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "gan-int-cls"])
@pytest.mark.parametrize("mismatched", [False, True])
def test_steps_move_every_weight_but_the_encoders(architecture: str, mismatched: bool) -> None:
    overrides = [*SMALL, *ARCHITECTURES[architecture], f"objective.mismatched_pairs={mismatched}"]
    config = load_config(None, overrides)
    training = gan(config)
    modules = (training.generator.module, training.discriminators.module, training.average.module)
    before, frozen = [weights(module) for module in modules], weights(training.encoders)
    for number in range(3):
        losses = training.step(batch(), number).losses
    assert set(losses) == {f"{kind}_{i}" for kind in ("generator", "discriminator") for i in (0, 1)} | {
        "conditioning",
        "words",
        "sentence",
    }
    assert all(torch.isfinite(loss) and not loss.requires_grad for loss in losses.values())
    for module, old in zip(modules, before, strict=True):
        for name, value in module.named_parameters():
            assert not torch.equal(value, old[name]), name
    assert all(torch.equal(value, frozen[name]) for name, value in training.encoders.named_parameters())
    assert all(p.requires_grad for p in training.discriminators.module.parameters())


def test_the_discriminators_step_is_the_separate_forwards_step() -> None:
    """One forward of real and generated images together, against one each (with u and v held)."""
    config = load_config(None, SMALL)
    training = gan(config)
    given = batch()
    text = training.encode(given)
    module = training.discriminators.module.eval()
    real = pyramid(given.images, [8, 16])
    fake = [torch.rand_like(image) * 2 - 1 for image in real]
    both = module([torch.cat(pair) for pair in zip(real, fake, strict=True)], torch.cat([text.sentence] * 2))
    for i, discriminator in enumerate(module):
        for images, part in ((real[i], slice(0, 6)), (fake[i], slice(6, 12))):
            features = discriminator(images)
            torch.testing.assert_close(both[i][0][part], discriminator.unconditional(features))
            torch.testing.assert_close(both[i][1][part], discriminator.conditional(features, text.sentence))


def test_separate_forwards_move_the_spectral_norm_as_the_released_code_does() -> None:
    """Real, then generated images through the encoder; then real, generated and wrong pairs through the joint head."""
    overrides = [*SMALL, "objective.mismatched_pairs=true", "objective.one_forward=false"]
    training, by_hand = (gan(load_config(None, overrides)) for _ in range(2))
    text = training.encode(batch())
    real = pyramid(batch().images, [8, 16])
    fake = [torch.linspace(-1, 1, image.numel()).view_as(image) for image in real]
    losses = training.update_discriminators(real, fake, text).losses
    for i, discriminator in enumerate(by_hand.discriminators.module):
        features_real, features_fake = discriminator(real[i]), discriminator(fake[i])
        loss = discriminator_loss(
            conditional_real=discriminator.conditional(features_real, text.sentence),
            conditional_fake=discriminator.conditional(features_fake, text.sentence),
            conditional_wrong=discriminator.conditional(features_real[:-1], text.sentence[1:]),
            unconditional_real=discriminator.unconditional(features_real),
            unconditional_fake=discriminator.unconditional(features_fake),
        )
        torch.testing.assert_close(losses[f"discriminator_{i}"], loss.detach())
        for (name, ours), theirs in zip(
            training.discriminators.module[i].named_buffers(), discriminator.buffers(), strict=True
        ):
            torch.testing.assert_close(ours, theirs, msg=name)


def test_steps_repeat_exactly_and_depend_on_the_seed() -> None:
    config = load_config(None, SMALL)

    def losses(seed: int) -> list[float]:
        training = gan(config)
        training.seed = seed
        return [float(v) for i in range(3) for v in training.step(batch(), i).losses.values()]

    assert losses(0) == losses(0)
    assert losses(0) != losses(1)


def test_noise_is_a_function_of_seed_and_step() -> None:
    first = draw_noise((3, 2), seed=1, step=5, batch_size=4)
    assert [n.shape for n in first] == [(4, 3), (4, 2)]
    again, other = draw_noise((3, 2), seed=1, step=5, batch_size=4), draw_noise((3, 2), seed=1, step=6, batch_size=4)
    assert torch.equal(first[0], again[0]) and not torch.equal(first[0], other[0])


def test_the_average_is_of_all_past_weights() -> None:
    config = load_config(None, SMALL)
    training = gan(config)
    expected = weights(training.average.module)
    for step in range(3):
        training.step(batch(), step)
        decay = min(config.optimizer.ema, (1 + step) / (10 + step))
        for name, value in training.generator.module.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach()
    for name, value in training.average.module.named_parameters():
        torch.testing.assert_close(value, expected[name])
    for mine, theirs in zip(training.average.module.buffers(), training.generator.module.buffers(), strict=True):
        assert torch.equal(mine, theirs)


def test_pretraining_learns_which_caption_belongs_to_which_image() -> None:
    torch.manual_seed(0)
    config = load_config(None, [*SMALL, "pretrain.dropout=0"])
    encoders = PlainEngine(build_encoders(config.model, 20, dropout=0.0).train(), 0.01, (0.5, 0.999))
    training = DamsmTraining(encoders, config.objective, lr=0.01, steps=40)
    losses = [sum(float(v) for v in training.step(batch(), i).losses.values()) for i in range(40)]
    assert losses[-1] < 0.3 * losses[0]


def test_one_cycle_rises_and_falls() -> None:
    rates = [one_cycle(step, 100, 1.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9] == pytest.approx(1.0) and rates[-1] < 0.01


def test_activation_checkpointing_changes_nothing_but_memory() -> None:
    kept, recomputed = (
        gan(load_config(None, [*SMALL, f"train.activation_checkpointing={on}"])) for on in (False, True)
    )
    for step in range(3):
        a, b = kept.step(batch(), step).losses, recomputed.step(batch(), step).losses
        assert all(torch.equal(a[name], b[name]) for name in a)
    for name in ("generator", "discriminators"):
        states = [getattr(training, name).module.state_dict() for training in (kept, recomputed)]
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())  # running statistics too


def test_bfloat16_trains_near_float32_with_weights_and_losses_in_float32() -> None:
    exact, reduced = (gan(load_config(None, [*SMALL, f"train.precision={kind}"])) for kind in ("float32", "bfloat16"))
    seen = set()
    for network in (reduced.generator.module, reduced.discriminators.module):
        for part in network.modules():
            if isinstance(part, torch.nn.Conv2d | SpectralNormConv2d):
                part.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    for step in range(5):
        a, b = exact.step(batch(), step).losses, reduced.step(batch(), step).losses
        assert all(value.dtype == torch.float32 and value.isfinite() for value in b.values())
        assert all(float(b[name]) == pytest.approx(float(a[name]), rel=0.1, abs=0.05) for name in a)
    assert seen == {torch.bfloat16}
    assert all(value.dtype != torch.bfloat16 for value in reduced.generator.module.state_dict().values())
    one = reduced.discriminators.module[0].encode[0]
    largest = torch.linalg.matrix_norm(one.weight.flatten(1), ord=2)
    assert (one.u @ one.weight.detach().flatten(1) @ one.v).item() == pytest.approx(float(largest), rel=0.05)


def test_local_negatives_and_mismatches_are_the_global_ones_of_one_worker() -> None:
    pairs = ["objective.mismatched_pairs=true"]
    everywhere = gan(load_config(None, [*SMALL, *pairs]))
    local = gan(load_config(None, [*SMALL, *pairs, "objective.negatives=local", "objective.mismatches=local"]))
    a, b = everywhere.step(batch(), 0).losses, local.step(batch(), 0).losses
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_diversity_tells_different_images_from_equal_ones() -> None:
    real = torch.rand(8, 3, 16, 16) * 2 - 1
    assert float(diversity(real.flip(3), real)) == pytest.approx(1)
    assert float(diversity(real[:1].expand(8, -1, -1, -1), real)) < 1e-6
