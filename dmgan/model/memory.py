"""Dynamic memory: Section 3.2, Eq. 3–9.

Shapes: B batch, T words, N_w word features, N_r image features, N_m memory slot features, H×W pixels (N = H·W).

| equation | here |
|---|---|
| Eq. 3, memory writing             m_i = M(w_i)                                       | `MemoryWriting` |
| Eq. 4, key addressing             α_{i,j} = softmax_i(φ_K(m_i)ᵀ r_j)                  | `KeyValueRead` |
| Eq. 5, value reading              o_j = Σ_i α_{i,j} φ_V(m_i)                          | `KeyValueRead` |
| Eq. 6, response                   r_new = [o_j, r_j]                                 | `ConcatResponse` |
| Eq. 7, memory writing gate        g_w = σ(A·w_i + B·(1/N Σ_j r_j))                   | `GatedMemoryWriting` |
| Eq. 8, gated memory writing       m_i = M_w(w_i)·g_w + M_r(1/N Σ_j r_j)·(1 − g_w)     | `GatedMemoryWriting` |
| Eq. 9, response gate              g_r = σ(W[o_j, r_j] + b), r_new = o·g_r + r·(1−g_r) | `GatedResponse` |
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = [
    "Attention",
    "ConcatResponse",
    "GatedMemoryWriting",
    "GatedResponse",
    "KeyValueRead",
    "MemoryWriting",
    "WordProjection",
    "address",
    "interleaved",
    "read",
]


def address(keys: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Eq. 4: α (B, T, H, W), the similarity of each pixel to each memory slot, softmax over the real words.

    keys (B, N_r, T), image (B, N_r, H, W), mask (B, T, 1, 1) or (B, T, H, W) true where there is no word. A mask of
    float numbers is the logarithm of each word's share, as between two captions, −∞ where there is no word.
    """
    logits = torch.einsum("bct,bchw->bhwt", keys, image).permute(0, 3, 1, 2)
    if mask.is_floating_point():
        return (logits + mask).softmax(dim=1)
    return logits.masked_fill(mask, float("-inf")).softmax(dim=1)


def interleaved(padding_mask: Tensor, image: Tensor) -> Tensor:
    """The released code's mask (B, T, H, W) from padding_mask (B, T), for images (B, N_r, H, W).

    It repeats the whole mask over the pixels while the pixels are ordered image by image, so pixel p of image b has the
    mask of caption (b·H·W + p) mod B. Only to score the released weights as their authors did.
    """
    batch, _, height, width = image.shape
    rows = padding_mask.repeat(height * width, 1).view(batch, height, width, -1)
    return rows.permute(0, 3, 1, 2)


def read(weights: Tensor, values: Tensor) -> Tensor:
    """Eq. 5: o (B, N_r, H, W), the slots' values (B, N_r, T) weighted by α (B, T, H, W)."""
    return torch.einsum("bct,bthw->bhwc", values, weights).permute(0, 3, 1, 2)


class MemoryWriting(nn.Module):
    """Eq. 3: m_i = M(w_i), a 1×1 convolution. words (B, N_w, T) -> memory (B, N_m, T); no gate."""

    def __init__(self, word_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.M_w = _embedding(word_dim, memory_dim)

    def forward(self, words: Tensor, image: Tensor) -> tuple[Tensor, None]:
        return self.M_w(words), None


class GatedMemoryWriting(nn.Module):
    """Eq. 7 and 8. words (B, N_w, T), image (B, N_r, H, W) -> memory (B, N_m, T), writing gate g_w (B, 1, T).

    The image's average is a constant of the gradient, as in the released code.
    """

    def __init__(self, word_dim: int, image_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.A = nn.Linear(word_dim, 1, bias=False)
        self.B = nn.Linear(image_dim, 1, bias=False)
        self.M_w = _embedding(word_dim, memory_dim)
        self.M_r = _embedding(image_dim, memory_dim)

    def forward(self, words: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        average = image.detach().mean(dim=(2, 3))  # (B, N_r)
        gate = torch.sigmoid(self.A(words.transpose(1, 2)) + self.B(average)[:, None])  # (B, T, 1)
        gate = gate.transpose(1, 2)
        image = self.M_r(average[:, :, None])
        return image + (self.M_w(words) - image) * gate, gate


class KeyValueRead(nn.Module):
    """Eq. 4 and 5 with the key and value access processes φ_K, φ_V.

    memory (B, N_m, T), image (B, N_r, H, W), mask as `address` -> o (B, N_r, H, W), α (B, T, H, W).
    """

    def __init__(self, memory_dim: int, image_dim: int) -> None:
        super().__init__()
        self.key = _embedding(memory_dim, image_dim)
        self.value = _embedding(memory_dim, image_dim)

    def forward(self, memory: Tensor, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weights = address(self.key(memory), image, mask)
        return read(weights, self.value(memory)), weights


class Attention(nn.Module):
    """Reading without a key-value memory: the slots themselves are keys and values, so N_m = N_r.

    With `MemoryWriting` this is Table 3's baseline; on projected words it is AttnGAN's attention.
    """

    def forward(self, memory: Tensor, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weights = address(memory, image, mask)
        return read(weights, memory), weights


class WordProjection(nn.Module):
    """AttnGAN's U·e: a 1×1 convolution of the words into the image's space, without bias or rectifier."""

    def __init__(self, word_dim: int, image_dim: int) -> None:
        super().__init__()
        self.project = nn.Conv1d(word_dim, image_dim, 1, bias=False)

    def forward(self, words: Tensor, image: Tensor) -> tuple[Tensor, None]:
        return self.project(words), None


class ConcatResponse(nn.Module):
    """Eq. 6: [r, o] (the image first, as released), (B, N_r, H, W) twice -> (B, 2 N_r, H, W)."""

    def forward(self, memory: Tensor, image: Tensor) -> tuple[Tensor, None]:
        return torch.cat([image, memory], dim=1), None


class GatedResponse(nn.Module):
    """Eq. 9: o·g_r + r·(1 − g_r), (B, N_r, H, W) twice -> (B, N_r, H, W), response gate g_r (B, 1, H, W).

    W sees [r, o], the image first, as released.

    The released network goes on with the fused feature beside itself. Those 2 N_r channels are never made: see
    `dmgan.model.convolutions.WideConv2d`.
    """

    def __init__(self, image_dim: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2 * image_dim, 1, 1)

    def forward(self, memory: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.sigmoid(self.gate(torch.cat([image, memory], dim=1)))
        return image + (memory - image) * gate, gate


def _embedding(channels_in: int, channels_out: int) -> nn.Sequential:
    # A 1×1 convolution and a rectifier, as in the released code.
    return nn.Sequential(nn.Conv1d(channels_in, channels_out, 1), nn.ReLU())
