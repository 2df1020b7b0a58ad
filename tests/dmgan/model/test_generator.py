from __future__ import annotations

from typing import Any

import pytest
import torch

from dmgan.architectures import architectures, build_generator
from dmgan.config import Model
from dmgan.model.discriminator import Discriminator
from dmgan.model.generator import Generator, GeneratorOutput
from dmgan.model.layers import recomputation
from dmgan.model.text_encoder import TextEncoder

B, T, WORDS, IMAGE = 4, 6, 8, 4


def build(architecture: str = "m_wg_rg", checkpointing: bool = False, **options: Any) -> Generator:
    """A row of Table 3, or another architecture."""
    torch.manual_seed(0)
    named = {"architecture": architecture} if architecture in architectures.names() else {"memory": architecture}
    sizes = {"word_dim": WORDS, "image_dim": IMAGE, "memory_dim": 6, "condition_dim": 5, "noise_dim": 7, "base_size": 8}
    return build_generator(Model.model_validate({**sizes, **named, **options}), checkpointing)


def inputs(lengths: tuple[int, ...] = (6, 3, 5, 1)) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(T)[None] >= torch.tensor(lengths)[:, None]
    words = torch.randn(B, WORDS, T, generator=generator)
    return {
        "noise": torch.randn(B, 7, generator=generator),
        "sentence": torch.randn(B, WORDS, generator=generator),
        "words": words,
        "padding_mask": mask,
        "eps": torch.randn(B, 5, generator=generator),
    }


def everything(out: GeneratorOutput) -> list[torch.Tensor]:
    return [*out.images, *out.attention, *out.writing_gates, *out.response_gates, out.mu, out.logvar]


def test_shapes_and_ranges() -> None:
    out = build()(**inputs())
    assert [image.shape for image in out.images] == [(B, 3, s, s) for s in (8, 16, 32)]
    assert [a.shape for a in out.attention] == [(B, T, 8, 8), (B, T, 16, 16)]
    assert [g.shape for g in out.writing_gates] == [(B, 1, T)] * 2
    assert [g.shape for g in out.response_gates] == [(B, 1, 8, 8), (B, 1, 16, 16)]
    assert out.mu.shape == out.logvar.shape == (B, 5)
    assert all(image.abs().max() <= 1 for image in out.images)
    assert all(((g > 0) & (g < 1)).all() for g in [*out.writing_gates, *out.response_gates])
    for attention in out.attention:
        torch.testing.assert_close(attention.sum(1), torch.ones_like(attention[:, 0]))
        assert (attention[inputs()["padding_mask"]] == 0).all()


@pytest.mark.parametrize("architecture", ["baseline", "m", "m_wg", "m_wg_rg", "attngan", "stackgan"])
def test_padded_words_influence_nothing(architecture: str) -> None:
    generator, given = build(architecture).eval(), inputs()
    changed = dict(given)
    changed["words"] = given["words"].masked_fill(given["padding_mask"][:, None], 1e3)
    first, second = generator(**given), generator(**changed)
    for a, b in zip(
        first.images + first.attention + first.response_gates,
        second.images + second.attention + second.response_gates,
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    for a, b in zip(first.writing_gates, second.writing_gates, strict=True):
        torch.testing.assert_close(a[~given["padding_mask"][:, None]], b[~given["padding_mask"][:, None]])


def test_permuting_the_batch_permutes_the_output() -> None:
    generator, given = build().eval(), inputs()
    order = torch.tensor([2, 0, 3, 1])
    for a, b in zip(
        everything(generator(**given)), everything(generator(**{k: v[order] for k, v in given.items()})), strict=True
    ):
        torch.testing.assert_close(a[order], b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["baseline", "m", "m_wg", "m_wg_rg", "attngan", "stackgan"])
def test_every_parameter_of_every_architecture_gets_a_gradient(architecture: str) -> None:
    generator = build(architecture)
    out = generator(**inputs())
    sum(image.square().sum() for image in out.images).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())
    assert bool(out.writing_gates) == architecture.startswith("m_wg")
    assert bool(out.response_gates) == (architecture == "m_wg_rg")


@pytest.mark.parametrize(
    ("base_size", "refinements"), [(8, 0), (8, 3), (16, 1), (32, 0), (32, 1), (64, 0), (64, 1), (128, 0)]
)
def test_any_base_size_and_number_of_refinements(base_size: int, refinements: int) -> None:
    out = build(base_size=base_size, refinements=refinements)(**inputs())
    assert [image.shape[-1] for image in out.images] == [base_size * 2**i for i in range(refinements + 1)]


@pytest.mark.parametrize("size", [8, 16, 64, 128, 256])
def test_discriminators_judge_images_of_their_size(size: int) -> None:
    discriminator = Discriminator(size, width=2, word_dim=WORDS)
    features = discriminator(torch.randn(2, 3, size, size))
    assert features.shape[2:] == (4, 4)
    assert discriminator.conditional(features, torch.randn(2, WORDS)).shape == (2,)
    assert discriminator.unconditional(features).shape == (2,)


def test_every_normalisation_counts_a_batch_once() -> None:
    """Also where refinements are computed twice, or the whole forward is."""
    for checkpointing in (False, True):
        generator = build(checkpointing=checkpointing)
        for _ in range(2):
            sum(image.square().sum() for image in generator(**inputs()).images).backward()
        with recomputation():
            generator(**inputs())
        generator.eval()(**inputs())
        counts = [count for name, count in generator.state_dict().items() if name.endswith("num_batches_tracked")]
        assert len(counts) > 10 and all(count == 2 for count in counts)


def test_the_text_encoder_ignores_padding_and_order_of_lengths() -> None:
    encoder = TextEncoder(20, word_dim=WORDS, embedding_dim=5).eval()
    captions = torch.tensor([[3, 4, 0, 0], [5, 6, 7, 8], [9, 0, 0, 0]])
    words, sentence = encoder(captions, torch.tensor([2, 4, 1]))
    assert words.shape == (3, WORDS, 4) and sentence.shape == (3, WORDS)
    assert (words[0, :, 2:] == 0).all() and (words[2, :, 1:] == 0).all()
    alone, own = encoder(captions[:1, :2], torch.tensor([2]))
    torch.testing.assert_close(words[:1, :, :2], alone)
    torch.testing.assert_close(sentence[:1], own)
    with pytest.raises(ValueError, match="word_dim must be even"):
        TextEncoder(20, word_dim=7)
