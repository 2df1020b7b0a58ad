"""Eq. 3–9, each against the paper's formula written out, and their gradients in double precision."""

from __future__ import annotations

import torch
from torch import Tensor

from dmgan.model.memory import GatedMemoryWriting, GatedResponse, KeyValueRead, MemoryWriting, address, interleaved

B, T, N_W, N_R, N_M, H, W = 2, 3, 5, 4, 6, 2, 3


def given(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[False, False, False], [False, False, True]])[:, :, None, None]
    words = torch.randn(B, N_W, T, generator=generator, dtype=dtype)
    return words, torch.randn(B, N_R, H, W, generator=generator, dtype=dtype), mask


def test_memory_writing_is_eq_3_a_map_of_each_word_alone() -> None:
    words, image, _ = given()
    write = MemoryWriting(N_W, N_M)
    memory, gate = write(words, image)
    weight, bias = write.M_w[0].weight[:, :, 0], write.M_w[0].bias
    for i in range(T):
        torch.testing.assert_close(memory[:, :, i], torch.relu(words[:, :, i] @ weight.t() + bias))
    assert gate is None


def test_gated_writing_is_eq_7_and_8() -> None:
    words, image, _ = given()
    write = GatedMemoryWriting(N_W, N_R, N_M)
    memory, gate = write(words, image)
    average = image.flatten(2).mean(2)  # 1/N Σ_j r_j
    for i in range(T):
        g_w = torch.sigmoid(words[:, :, i] @ write.A.weight.t() + average @ write.B.weight.t())  # Eq. 7
        torch.testing.assert_close(gate[:, :, i], g_w)
        m_w = torch.relu(words[:, :, i] @ write.M_w[0].weight[:, :, 0].t() + write.M_w[0].bias)
        m_r = torch.relu(average @ write.M_r[0].weight[:, :, 0].t() + write.M_r[0].bias)
        torch.testing.assert_close(memory[:, :, i], m_w * g_w + m_r * (1 - g_w))  # Eq. 8


def test_addressing_and_reading_are_eq_4_and_5() -> None:
    _, image, mask = given()
    memory = torch.randn(B, N_M, T)
    read = KeyValueRead(N_M, N_R)
    output, weights = read(memory, image, mask)
    keys, values = read.key(memory), read.value(memory)
    for b in range(B):
        real = ~mask[b, :, 0, 0]
        for y in range(H):
            for x in range(W):
                similarity = keys[b][:, real].t() @ image[b, :, y, x]
                alpha = similarity.exp() / similarity.exp().sum()  # Eq. 4
                torch.testing.assert_close(weights[b, real, y, x], alpha)
                torch.testing.assert_close(output[b, :, y, x], values[b][:, real] @ alpha)  # Eq. 5
    assert (weights[1, 2] == 0).all()


def test_the_gated_response_is_eq_9() -> None:
    _, image, _ = given()
    recalled = torch.randn_like(image)
    respond = GatedResponse(N_R)
    fused, gate = respond(recalled, image)
    weight, bias = respond.gate.weight.flatten(), respond.gate.bias
    for y in range(H):
        for x in range(W):
            both = torch.cat([image[:, :, y, x], recalled[:, :, y, x]], dim=1)
            g_r = torch.sigmoid(both @ weight + bias)
            torch.testing.assert_close(gate[:, 0, y, x], g_r)
            new = recalled[:, :, y, x] * g_r[:, None] + image[:, :, y, x] * (1 - g_r[:, None])
            torch.testing.assert_close(fused[:, :, y, x], new)


def test_gradients_in_double_precision() -> None:
    torch.manual_seed(0)
    words, image, mask = given(torch.float64)
    words.requires_grad_()
    # The image's average is a constant of the writing gate's gradient, so the image is no leaf there.
    write, read = GatedMemoryWriting(N_W, N_R, N_M).double(), KeyValueRead(N_M, N_R).double()
    respond = GatedResponse(N_R).double()
    assert torch.autograd.gradcheck(lambda w: write(w, image), (words,))
    leaf = image.clone().requires_grad_()
    memory = torch.rand(B, N_M, T, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, r: read(m, r, mask), (memory, leaf))
    assert torch.autograd.gradcheck(lambda o, r: respond(o, r), (torch.randn_like(leaf).requires_grad_(), leaf))


def test_the_interleaved_mask_is_the_released_codes() -> None:
    _, image, mask = given()
    theirs = interleaved(mask[:, :, 0, 0], image)
    for b in range(B):
        for pixel in range(H * W):
            expected = mask[(b * H * W + pixel) % B, :, 0, 0]
            assert torch.equal(theirs[b, :, pixel // W, pixel % W], expected)
    keys = torch.randn(B, N_R, T)
    torch.testing.assert_close(address(keys, image, theirs).sum(1), torch.ones(B, H, W))
