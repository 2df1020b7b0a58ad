from __future__ import annotations

from pathlib import Path

import pytest

from cluster.driver.captions import check_captions, pretraining_tokenizer
from datasets.manifest import Manifest, load_manifest
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
