from __future__ import annotations

import sys
import unicodedata

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.manifest import Manifest
from datasets.vocabulary import Vocabulary
from dmgan import TextToImage
from dmgan.config import load_config
from dmgan.export.tokenizer import exported_tokenizer
from dmgan.model.text_encoders import learn_tokenizer
from dmgan.model.tokenizers import Tokenizer
from dmgan.runs.run import Run

SAID = [
    "this bird is red",
    "This BIRD's wings are brid-red,\tand  its_beak 12½ ＷＩＤＥ!",
    "a zebra",  # a is known of the unknown word's letters
    "der Fuß, ὈΔΥΣΣΕΎΣ und ΣΊΣΥΦΟΣ Ꭰ ꭰ",
    "鳥is红色 ㋿ soft\u00adhyphen zero\u200dwidth",
    "हिन्दी नीला 🦜🏽",
    "  ",
    "red " * 40,
]


def model_of(untrained: tuple[Run, list[str]], kind: str, released: bool = False) -> TextToImage:
    run = untrained[0]
    config = load_config(run.read_config(), [f"text.tokenizer={kind}"])
    tokenizer: Tokenizer = learn_tokenizer(config)
    if kind == "words":
        assert isinstance(tokenizer, Vocabulary)
        more = ["fuss", "οδυσσευσ", "鳥", "令", "हिन्दी", "its_beak", "12", "zerowidth"]
        tokenizer = Vocabulary((*tokenizer.words, *more), released)
    plain = TextToImage.from_run(run.url, device="cpu")
    return TextToImage("x", 0, config, plain.generator, plain.text, tokenizer)


def ours(model: TextToImage, caption: str) -> list[int]:
    ids = model.tokenizer.encode(caption)[: model.max_words]
    return ids + [0] * (model.max_words - len(ids))


@pytest.mark.parametrize("kind", ["words", "released", "bpe", "characters"])
def test_the_library_loads_it_and_gives_the_same_ids(
    untrained: tuple[Run, list[str]], packed: tuple[str, Manifest], kind: str
) -> None:
    model = model_of(untrained, "words" if kind == "released" else kind, kind == "released")
    fast = tokenizers.Tokenizer.from_str(exported_tokenizer(model).to_str())
    assert any(ours(model, SAID[2])) and len(fast.encode("red").ids) == model.max_words

    @given(st.one_of(st.sampled_from(SAID), st.text(st.characters(exclude_categories=("Cs", "Cn", "Co")), max_size=40)))
    @settings(max_examples=150, deadline=None, derandomize=True)
    def same(caption: str) -> None:
        assert fast.encode(caption).ids == ours(model, caption)

    same()
    for caption in SAID:
        assert fast.encode(caption).ids == ours(model, caption)


def test_every_character_is_read_alike(untrained: tuple[Run, list[str]]) -> None:
    model = model_of(untrained, "words")
    fast = exported_tokenizer(model)
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    assigned = [c for c in characters if unicodedata.category(c) not in ("Cs", "Cn", "Co")]
    captions = [f"red{character}bird fuss" for character in assigned]
    read = (encoding.ids for encoding in fast.encode_batch(captions))
    assert [c for c, ids in zip(captions, read, strict=True) if ids != ours(model, c)] == []
