"""L_DAMSM, the deep attentional multimodal similarity of AttnGAN [28], used by Eq. 10.

Shapes: B batch, T words, N_w features, R image regions. Rows of a score matrix are images, columns captions.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "matching_loss",
    "sentence_scores",
    "word_region_attention",
    "word_scores",
]


def word_region_attention(regions: Tensor, words: Tensor, padding_mask: Tensor, gamma1: float) -> Tensor:
    """For every image i and caption j, which regions each word looks at: (B_i, B_j, T, R), softmax over regions.

    regions (B_i, N_w, R), words (B_j, N_w, T), padding_mask (B_j, T). The similarities are first normalised over the
    caption's real words, then sharpened by γ1 and normalised over the regions ([28], Eq. 8–9).
    """
    similarity = torch.einsum("icr,jct->ijtr", regions, words)
    mask = padding_mask[None, :, :, None]
    over_words = similarity.masked_fill(mask, float("-inf")).softmax(dim=2)
    return (gamma1 * over_words).softmax(dim=3)


def word_scores(
    regions: Tensor, words: Tensor, padding_mask: Tensor, gamma1: float, gamma2: float, eps: float = 1e-8
) -> Tensor:
    """R(image i, caption j) = log Σ_t exp(γ2 cos(c_t, e_t)): (B_i, B_j) ([28], Eq. 10).

    c_t is the sum of the image's regions weighted by `word_region_attention`, e_t the word.
    """
    attention = word_region_attention(regions, words, padding_mask, gamma1)
    context = torch.einsum("ijtr,icr->ijtc", attention, regions)
    dot = torch.einsum("ijtc,jct->ijt", context, words)
    norms = context.norm(dim=3) * words.norm(dim=1)[None]
    cosine = dot / norms.clamp_min(eps)
    return (gamma2 * cosine).masked_fill(padding_mask[None], float("-inf")).logsumexp(dim=2)


def sentence_scores(codes: Tensor, sentence: Tensor, eps: float = 1e-8) -> Tensor:
    """cos(image code i, sentence j): (B_i, B_j) from (B_i, N_w), (B_j, N_w)."""
    norms = codes.norm(dim=1)[:, None] * sentence.norm(dim=1)[None]
    return codes @ sentence.t() / norms.clamp_min(eps)


def matching_loss(scores: Tensor, class_ids: Tensor | None) -> Tensor:
    """Cross-entropy of the diagonal of scores (…, B, B), times γ3: (…, 2), along rows (image → caption) and along
    columns (caption → image): L_1 and L_2 of words or of sentences ([28], Eq. 11–13).

    Other images and captions of the same class (B,) are no mismatch and are left out.
    """
    if class_ids is not None:
        same = class_ids[:, None] == class_ids[None]
        same.fill_diagonal_(False)
        scores = scores.masked_fill(same, float("-inf"))
    both = torch.stack([scores, scores.transpose(-2, -1)], dim=-3)
    return -both.log_softmax(-1).diagonal(dim1=-2, dim2=-1).mean(-1)
