from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from dmgan.training.engine import finite_numbers
from dmgan.training.gan import told_apart
from dmgan.training.matching import matching_loss, sentence_scores, word_scores
from dmgan.training.objectives import conditioning_loss, discriminator_loss, generator_loss

B, C, T, R = 3, 4, 5, 6


def data(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(T)[None] >= torch.tensor([5, 3, 1])[:, None]
    regions = torch.randn(B, C, R, generator=generator, dtype=dtype)
    return regions, torch.randn(B, C, T, generator=generator, dtype=dtype), mask


def test_word_scores_follow_the_paper_pair_by_pair() -> None:
    regions, words, mask = data()
    scores = word_scores(regions, words, mask, 4.0, 5.0)
    for i in range(B):
        for j in range(B):
            real = words[j][:, ~mask[j]]  # (C, t)
            similarity = (real.t() @ regions[i]).softmax(0)  # over words, for each region
            attention = (4.0 * similarity).softmax(1)  # over regions, for each word
            context = attention @ regions[i].t()
            cosine = F.cosine_similarity(context, real.t(), dim=1)
            expected = (5.0 * cosine).exp().sum().log()
            torch.testing.assert_close(scores[i, j], expected)


def test_the_losses_are_zero_for_perfect_matches_and_log_batch_for_none() -> None:
    codes = torch.eye(4) * 3
    assert (matching_loss(100 * sentence_scores(codes, codes), None) < 1e-6).all()
    alike = sentence_scores(torch.ones(4, 4), torch.ones(4, 4))
    torch.testing.assert_close(matching_loss(alike, None), torch.full((2,), math.log(4)))


def test_pairs_of_one_class_are_no_mismatch() -> None:
    alike = torch.ones(4, 4)
    torch.testing.assert_close(matching_loss(alike, torch.tensor([7, 7, 7, 7])), torch.zeros(2))
    expected = torch.full((2,), (2 * math.log(3) + 2 * math.log(4)) / 4)
    torch.testing.assert_close(matching_loss(alike, torch.tensor([7, 7, 1, 2])), expected)


def test_padded_words_influence_no_loss() -> None:
    regions, words, mask = data()
    changed = words.masked_fill(mask[:, None], 50.0)
    a, b = (matching_loss(word_scores(regions, each, mask, 4.0, 5.0), None) for each in (words, changed))
    torch.testing.assert_close(a, b)


def test_gradients_in_double_precision() -> None:
    regions, words, mask = data(torch.float64)
    regions.requires_grad_(), words.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda r, w: matching_loss(10 * word_scores(r, w, mask, 4.0, 5.0), None), (regions, words)
    )
    codes = torch.randn(B, C, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda c, w: matching_loss(10 * sentence_scores(c, w[:, :, 0]), None), (codes, words)
    )


def test_the_adversarial_losses_are_eq_11_and_12() -> None:
    logits = [torch.randn(5) for _ in range(5)]
    p = [x.sigmoid() for x in logits]
    expected = -0.5 * (p[0].log().mean() + p[1].log().mean())
    torch.testing.assert_close(generator_loss(logits[0], logits[1]), expected)
    four = p[0].log().mean() + p[1].log().mean() + (1 - p[2]).log().mean() + (1 - p[3]).log().mean()
    torch.testing.assert_close(discriminator_loss(*logits[:4]), -0.5 * four)
    real, fake = p[0].log().mean() + p[1].log().mean(), sum((1 - q).log().mean() for q in p[2:])
    torch.testing.assert_close(discriminator_loss(*logits), -(real / 2 + fake / 3))


def test_the_conditioning_loss_is_the_divergence_from_the_standard_normal() -> None:
    mu, logvar = torch.randn(3, 4), torch.randn(3, 4)
    normal = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(conditioning_loss(mu, logvar), expected)


def _same(ours: torch.Tensor, plain: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    """Equal values and gradients in double precision."""
    torch.testing.assert_close(ours, plain, rtol=1e-13, atol=1e-13)
    weights = torch.arange(1.0, ours.numel() + 1, dtype=ours.dtype).view(ours.shape)
    found, expected = (torch.autograd.grad((weights * x).sum(), inputs, retain_graph=True) for x in (ours, plain))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


def test_both_directions_of_several_matrices_are_torchs_cross_entropy() -> None:
    torch.manual_seed(0)
    scores = (10 * torch.randn(2, 4, 4, dtype=torch.float64)).requires_grad_()
    target, classes = torch.arange(4), torch.tensor([3, 1, 3, 3])
    same = (classes[:, None] == classes[None]) & ~torch.eye(4, dtype=torch.bool)
    for given, seen in ((None, scores), (classes, scores.masked_fill(same, float("-inf")))):
        pairs = [[F.cross_entropy(each, target), F.cross_entropy(each.t(), target)] for each in seen]
        _same(matching_loss(scores, given), torch.stack([torch.stack(pair) for pair in pairs]), [scores])


def test_the_adversarial_losses_are_those_of_each_term_alone() -> None:
    torch.manual_seed(0)
    sizes = (5, 5, 5, 5, 4)
    logits = [(10 * torch.randn(3, n, dtype=torch.float64)).requires_grad_() for n in sizes]
    real, fake = ([-F.logsigmoid(sign * x).mean(-1) for x in logits] for sign in (1, -1))
    four = (real[0] + real[1] + fake[2] + fake[3]) / 2
    _same(discriminator_loss(*logits[:4]), four, logits[:4])
    five = (real[0] + real[1]) / 2 + (fake[2] + fake[3] + 0.75 * fake[4]) / 3
    _same(discriminator_loss(*logits, 0.75), five, logits)
    _same(generator_loss(*logits[:2], 0.5), (real[0] + real[1]) / 2, logits[:2])


def test_the_share_told_apart() -> None:
    real = torch.tensor([[1.0, -1.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    fake = torch.tensor([[-1.0, 1.0, 0.0, 1.0], [-1.0, -1.0, -1.0, -1.0]])
    torch.testing.assert_close(told_apart(real, fake), torch.tensor([3 / 8, 1.0]))


def test_what_is_finite() -> None:
    values = torch.tensor([0.0, -0.0, 3e38, -1e-45, float("inf"), float("-inf"), float("nan")])
    assert finite_numbers(values).tolist() == values.isfinite().tolist()
