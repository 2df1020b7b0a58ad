from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cluster.driver.captions import check_captions, pretraining_tokenizer, sides_note
from datasets.manifest import Manifest, load_manifest
from datasets.packing.command import read_source
from datasets.packing.pack import PackOptions, pack
from dmgan.config import ConfigError, load_config
from dmgan.model.tokenizers import captions_of, learn_tokenizer
from dmgan.runs.run import Run


@pytest.mark.parametrize("tokenizer", ["words", "bpe", "characters"])
def test_captions_that_are_cut_are_counted(packed: tuple[str, Manifest], tokenizer: str) -> None:
    config = load_config(None, [f"data.url={packed[0]}", f"text.tokenizer={tokenizer}"])
    made = learn_tokenizer(packed[0], config.text)
    for split, key, name in (("train", "data.max_words", "training"), ("test", "evaluate.max_words", "test")):
        lengths = sorted(len(made.encode(caption)) for caption in captions_of(packed[0], split))
        middle, longest = lengths[len(lengths) // 2], lengths[-1]
        note = check_captions(load_config(config, [f"{key}={middle}"]), split, made, "mine")
        cut = sum(length > middle for length in lengths)
        assert 0 < cut < len(lengths) and note is not None
        assert note.startswith(f"{key}={middle}: {cut} of {len(lengths)} {name} captions have more tokens; ")
        assert check_captions(load_config(config, [f"{key}={longest}"]), split, made, "mine") is None


def test_a_tokenizer_that_knows_nothing_of_a_caption_is_refused_before_training(
    packed: tuple[str, Manifest], tmp_path: Path
) -> None:
    config = load_config(None, [f"data.url={packed[0]}", "text.min_count=100000"])
    tokenizer, whose = pretraining_tokenizer(config, Run(str(tmp_path)))
    with pytest.raises(
        ConfigError, match=r"^text.min_count=100000: the tokenizer knows no word of '.*', a caption of "
    ):
        check_captions(config, "train", tokenizer, whose)


def test_pretraining_that_goes_on_keeps_its_tokenizer(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    config, run = load_config(None, [f"data.url={packed[0]}", "text.min_count=3"]), Run(str(tmp_path))
    before = load_manifest(packed[0])[1]
    run.save_tokenizer(before)
    learnt, _ = pretraining_tokenizer(config, run)  # nothing is trained with the one that is there
    assert len(learnt) < len(before)
    (tmp_path / "checkpoints").mkdir()
    kept, _ = pretraining_tokenizer(config, run)
    assert kept.to_json() == before.to_json()


def test_mirrored_captions_that_say_left_or_right_are_counted(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    said = ["a ball left of a box", "the rightmost ring", "A Box On The RIGHT", "a bright light that is upright"]
    rows = [(caption, "train") for caption in said] + [("the left of a test image", "test")]
    lines = ["image,caption,split"]
    for number, (caption, split) in enumerate(rows):
        Image.new("RGB", (32, 32), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{caption},{split}")
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    url, options = str(tmp_path / "packed"), PackOptions(resolution=16, processes=1)
    pack(read_source("folder", str(tmp_path), options), url, options, progress=False)
    note = sides_note(load_config("small", [f"data.url={url}"]))
    training = load_manifest(url)[0].split("train").captions
    assert training == 4 and note is not None and note.startswith("data.mirror=true: 3 of 4 training captions say left")
    assert sides_note(load_config("small", [f"data.url={url}", "data.mirror=false"])) is None
    assert sides_note(load_config(None, [f"data.url={packed[0]}"])) is None  # birds have no sides
