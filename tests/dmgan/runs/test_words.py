from __future__ import annotations

import torch

from dmgan.architectures import build_generator
from dmgan.config import Model
from dmgan.runs.words import is_function_word, top_words


def test_the_words_with_the_largest_weights_and_gates_in_order() -> None:
    weights = torch.tensor([0.1, 0.5, 0.0, 0.4])
    gates = torch.tensor([0.9, 0.2, 0.3, 0.8])
    (stage,) = top_words([weights], [gates], ["a", "red", "a", "bird"], 3)
    assert [(t, word) for t, word, _ in stage["read"]] == [(1, "red"), (3, "bird"), (0, "a")]
    assert [(t, word) for t, word, _ in stage["written"]] == [(0, "a"), (3, "bird"), (2, "a")]


def test_padding_is_no_word_and_the_attention_variant_has_no_gate() -> None:
    (stage,) = top_words([torch.full((3,), 1 / 3)], [torch.tensor([0.1, 0.2, 0.9])], ["red", "bird"])
    assert [word for _, word, _ in stage["written"]] == ["bird", "red"]
    sizes = {"word_dim": 4, "image_dim": 2, "condition_dim": 2, "noise_dim": 2, "base_size": 8}
    attngan = build_generator(Model.model_validate({"architecture": "attngan", **sizes})).eval()
    text = torch.randn(1, 4, 3)
    out = attngan(torch.zeros(1, 2), text[:, :, 0], text, torch.tensor([[False, False, True]]), torch.zeros(1, 2))
    stages = top_words([weights[0].mean((1, 2)) for weights in out.attention], out.writing_gates, ["red", "bird"])
    assert len(stages) == 2 and all(set(stage) == {"read"} for stage in stages)
    for stage in stages:
        assert abs(sum(value for _, _, value in stage["read"]) - 1) < 1e-5


def test_function_words_are_told_from_those_that_show_something() -> None:
    words = ["this", "Bird", "has", "a", "red", "\u2581the", "wings", "with", "small"]
    assert [word for word in words if is_function_word(word)] == ["this", "has", "a", "\u2581the", "with"]
