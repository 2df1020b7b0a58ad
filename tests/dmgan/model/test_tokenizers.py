from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets.packing.command import main as pack
from datasets.stream import Batch
from datasets.vocabulary import Vocabulary, tokenize
from dmgan.architectures import damsm_training
from dmgan.config import ConfigError, Text, load_config
from dmgan.model.text_encoders import TextEncoderKind, check_text_encoder, text_encoders
from dmgan.model.tokenizers import Tokenizer, check_vocabulary, learn_tokenizer, read_tokenizer
from dmgan.training.batch import tokenised
from dmgan.training.engine import plain_engine
from tests.small import SMALL

CAPTIONS = [
    "This bird is red, with black wings.",
    "a blackbird with red wings",
    "Ein großer Vogel mit roten Flügeln",
    "लाल पक्षी",
    "红色的鸟",
    "красная птица с чёрными крыльями",
]
SETTINGS = {
    "words": Text(),
    "bpe": Text(tokenizer="bpe", vocabulary_size=400),
    "characters": Text(tokenizer="characters"),
}
KINDS = sorted(SETTINGS)
UNSEEN = {  # and what is read of it
    "ΚΌΚΚΙΝΟΣ, ΠΟΥΛΊ": "κόκκινοσ πουλί",
    "طائر أحمر": "طائر أحمر",
    "นกสีแดง": "นกสีแดง",
    "빨간 새": "빨간 새",
    "一只🦜，红色": "一只🦜 红色",
    "👩\u200d🚀 \U0001fae9!": "👩🚀 \U0001fae9",
    "<pad> ##red \\x41": "<pad> red x41",
    "lone \ud83e half": "lone half",
    "Zyzzyva's": "zyzzyva s",
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A packed dataset with those captions for training, and a word for testing that they lack."""
    source = tmp_path_factory.mktemp("source")
    rows = [{"captions": [text], "split": "train"} for text in CAPTIONS] + [{"captions": ["zebra"], "split": "test"}]
    for i, row in enumerate(rows):
        Image.new("RGB", (16, 16), (30 * i, 90, 60)).save(source / f"{i}.png")
        row["image"] = f"{i}.png"
    (source / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert pack(["folder", str(source), str(source / "out"), "--set", "resolution=16", "--set", "processes=1"]) == 0
    return str(source / "out")


@pytest.fixture(scope="module")
def learnt(dataset: str) -> dict[str, Tokenizer]:
    return {kind: learn_tokenizer(dataset, text) for kind, text in SETTINGS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_is_the_same_after_writing_and_reading(kind: str, learnt: dict[str, Tokenizer]) -> None:
    tokenizer = learnt[kind]
    again = read_tokenizer(tokenizer.to_json().encode(), SETTINGS[kind])
    assert again.to_json() == tokenizer.to_json() and len(again) == len(tokenizer)
    for caption in CAPTIONS:
        ids = tokenizer.encode(caption)
        assert ids and again.encode(caption) == ids and again.decode(ids) == tokenizer.decode(ids)
        assert all(0 < number < len(tokenizer) for number in ids) and not tokenizer.unknown(caption)


@pytest.mark.parametrize("kind", KINDS)
def test_case_punctuation_and_ways_to_write_a_character_do_not_matter(kind: str, learnt: dict[str, Tokenizer]) -> None:
    tokenizer = learnt[kind]
    one = tokenizer.encode("this bird is red with black wings")
    assert tokenizer.encode("  THIS bird… is ｒｅｄ — “with black”\n wings!") == one
    assert tokenizer.encode("Großer Flügeln") == tokenizer.encode("GROSSER Flu\u0308ge\u00adln")


@pytest.mark.parametrize(("caption", "read"), list(UNSEEN.items()))
def test_bpe_knows_every_text(caption: str, read: str, learnt: dict[str, Tokenizer]) -> None:
    pieces = learnt["bpe"].decode(learnt["bpe"].encode(caption))
    assert not learnt["bpe"].unknown(caption)
    joined = "".join(p[2:] if p.startswith("##") else f" {p.removeprefix('␣')}" for p in pieces)
    content = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), joined.encode())
    assert content.decode() == f" {read}"


def test_bpes_pieces_are_shown_as_people_read_them(learnt: dict[str, Tokenizer]) -> None:
    def shown(caption: str) -> list[str]:
        return learnt["bpe"].decode(learnt["bpe"].encode(caption))

    assert shown("red wings") == ["red", "wings"]
    assert shown("redq") == ["red", "##q"]
    assert shown("🦜") == ["␣", "##\\xf0", "##\\x9f", "##\\xa6", "##\\x9c"]


@settings(max_examples=300, deadline=None)
@given(caption=st.text(st.characters(categories=["L", "M", "N", "S", "P", "Z", "C"]), max_size=30))
def test_bpe_reads_at_least_the_words_of_any_text(caption: str, learnt: dict[str, Tokenizer]) -> None:
    ids = learnt["bpe"].encode(caption)
    assert ids or not tokenize(caption)
    assert 0 not in ids and len(learnt["bpe"].decode(ids)) == len(ids)


def test_bpe_has_no_more_ids_than_it_may(dataset: str) -> None:
    sizes = [len(learn_tokenizer(dataset, Text(tokenizer="bpe", vocabulary_size=size))) for size in (257, 262, 8000)]
    assert sizes[:2] == [257, 262] and 262 < sizes[2] < 8000


def test_characters_are_those_of_training_captions_and_others_are_named(learnt: dict[str, Tokenizer]) -> None:
    tokenizer = learnt["characters"]
    assert tokenizer.decode(tokenizer.encode("A bird")) == ["a", "␣", "b", "i", "r", "d"]
    assert tokenizer.decode(tokenizer.encode("a ζbirθ")) == ["a", "␣", "b", "i", "r"]
    assert tokenizer.unknown("a ζbirθ, ζ") == ["ζ", "θ", "ζ"]


def test_rare_words_have_no_number(dataset: str) -> None:
    everything, frequent = learn_tokenizer(dataset, Text()), learn_tokenizer(dataset, Text(min_count=2))
    assert everything.decode(everything.encode("red wings zebra")) == ["red", "wings", "zebra"]
    assert frequent.decode(range(1, len(frequent))) == ["red", "wings", "with"]
    assert frequent.unknown("a red zebra") == ["a", "zebra"]


def test_a_released_vocabulary_keeps_its_numbers() -> None:
    released = Vocabulary(("<end>", "red"), released=True)
    check_vocabulary("s3://birds", released, Text())
    check_vocabulary("s3://birds", released, Text(tokenizer="bpe"))
    with pytest.raises(ConfigError, match=r"^text.min_count=2: expected 1: s3://birds was packed with a released voc"):
        check_vocabulary("s3://birds", released, Text(min_count=2))


@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_the_same_captions_give_the_same_tokenizer_in_another_process(
    kind: str, dataset: str, learnt: dict[str, Tokenizer]
) -> None:
    code = (
        "import sys; from dmgan.config import Text; from dmgan.model.tokenizers import learn_tokenizer;"
        "print(learn_tokenizer(sys.argv[1], Text.model_validate_json(sys.argv[2])).to_json())"
    )
    command = [sys.executable, "-c", code, dataset, SETTINGS[kind].model_dump_json()]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == learnt[kind].to_json() and not done.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_a_tokenizer_of_another_kind_is_refused(kind: str, other: str, learnt: dict[str, Tokenizer]) -> None:
    if kind != other:
        with pytest.raises(ValueError, match=f"holds a tokenizer of '{kind}', but text.tokenizer={other}"):
            read_tokenizer(learnt[kind].to_json().encode(), SETTINGS[other])


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("bpe", {"tokens": []}),
        ("bpe", {"tokens": ["a", "b"]}),
        ("bpe", {"merges": [["Ġzebra", "x"]]}),
        ("bpe", {"merges": "none"}),
        ("bpe", {"more": 1}),
        ("characters", {"tokens": ["a", "a"]}),
        ("characters", {"tokens": ["a", "bc"]}),
        ("characters", {"tokens": ["a", ""]}),
        ("characters", {"merges": [["a", "b"]]}),
        ("characters", {"tokens": [1, 2]}),
        ("words", {"words": ["<end>", "a", "a"]}),
    ],
)
def test_a_damaged_tokenizer_is_refused(kind: str, change: dict[str, object], learnt: dict[str, Tokenizer]) -> None:
    content = json.dumps(json.loads(learnt[kind].to_json()) | change).encode()
    with pytest.raises(ValueError):
        read_tokenizer(content, SETTINGS[kind])


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"{}", b"3", b"\xff"])
def test_what_is_no_tokenizer_is_refused(content: bytes) -> None:
    for text in SETTINGS.values():
        with pytest.raises(ValueError):
            read_tokenizer(content, text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoders_train_on_each(kind: str, learnt: dict[str, Tokenizer]) -> None:
    tokenizer = learnt[kind]
    config = load_config(None, [*SMALL, "train.batch_statistics=local", "data.max_words=9"])
    torch.manual_seed(0)
    training = damsm_training(config, len(tokenizer), plain_engine, torch.device("cpu"), 2)
    images = torch.randint(0, 256, (len(CAPTIONS), 3, 16, 16), dtype=torch.uint8)
    classes, draws = torch.arange(len(CAPTIONS)), list(range(len(CAPTIONS)))
    batch = tokenised(Batch([str(i) for i in draws], images, CAPTIONS, classes, draws), tokenizer, 9)
    assert batch.lengths.max() <= 9 and (batch.ids != 0).sum() == batch.lengths.sum()
    embeddings = training.encoders.module.text.embed.weight
    before = embeddings.detach().clone()
    assert all(torch.isfinite(loss) for loss in training.step(batch, 0).losses.values())
    moved = (embeddings.detach() != before).any(dim=1).nonzero().flatten().tolist()
    assert moved and set(moved) <= set(batch.ids.flatten().tolist())


def test_text_is_refused_where_a_text_encoder_has_a_tokenizer_of_its_own() -> None:
    def build(*_: object) -> torch.nn.Module:
        raise AssertionError

    with pytest.raises(ValueError, match="both tokenizer and read_tokenizer"):
        TextEncoderKind(build, tokenizer=lambda url: Vocabulary(("", "a")))
    text_encoders.register("own", TextEncoderKind(build, lambda url: Vocabulary(("", "a")), Vocabulary.from_json))
    check_text_encoder(load_config(None, ["model.text_encoder=own"]))
    check_text_encoder(load_config(None, ["text.tokenizer=bpe"]))
    with pytest.raises(ConfigError, match=r"^text.tokenizer=bpe: expected its default, words: model.text_encoder=own "):
        check_text_encoder(load_config(None, ["model.text_encoder=own", "text.tokenizer=bpe"]))
