"""Judges besides the run's own encoders, and what the real images get."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.driver.judging import check_judge, make_judge
from datasets.manifest import Manifest, load_manifest
from datasets.packing.pack import PackOptions, pack
from datasets.sources.drawn import birds2, scenes
from datasets.sources.records import Entries, Source
from dmgan.config import ConfigError, load_config
from dmgan.evaluation.captions import UnseenCaptions
from dmgan.evaluation.clip import check_clip
from dmgan.evaluation.evaluator import CaptionEncoder, Evaluator
from dmgan.evaluation.judges import encoders_key, judge_run, judges_sha256
from dmgan.evaluation.sums import added, ceilings, confusions, scores
from dmgan.model.build import build_encoders
from dmgan.runs.run import Run


def write_clip(folder: Path) -> None:
    """A CLIP of random weights that knows two words."""
    import dmgan.model.torchvision_cpu  # noqa: F401, I001
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    torch.manual_seed(1)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**tower, "vocab_size": 30, "max_position_embeddings": 12}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config={**text, **ids}, vision_config=vision, projection_dim=12)).save_pretrained(folder)
    words = {"[PAD]": 0, "[BOS]": 1, "[EOS]": 2, "[UNK]": 3, "red": 4, "bird": 5}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)]
    )
    names = {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


@pytest.fixture(scope="module")
def judge(untrained: tuple[Run, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Encoders of another architecture and seed."""
    torch.manual_seed(7)
    run = Run(str(tmp_path_factory.mktemp("judge") / "other"))
    config = load_config(None, [*untrained[1], "model.word_dim=24"])
    vocabulary = load_manifest(config.data.url)[1]
    run.save_encoders(build_encoders(config.model, len(vocabulary)), vocabulary)
    run.write_config(config)
    return run


def evaluator(run: Run, settings: list[str], *more: str) -> Evaluator:
    encoder = CaptionEncoder(load_config(None, [*settings, *more]), run, torch.device("cpu"))
    return Evaluator(encoder, run.load_generator(), encoder.encode(0, encoder.distinct_captions))


def test_every_r_precision_has_that_of_the_real_images_beside_it(
    untrained: tuple[Run, list[str]], judge: Run, tmp_path: Path
) -> None:
    write_clip(tmp_path)
    made = evaluator(*untrained, f"evaluate.judge={judge.url}", f"evaluate.clip={tmp_path}")
    whole, real = made.score(0, 40), added(made.real(0, 11), made.real(11, 30), made.settings)
    found, ceiling = scores(whole, real, made.settings), ceilings(real, made.settings)
    names = {"r_precision", "judge_r_precision", "clip_r_precision", "clip_score"}
    assert names <= found.keys() and names == ceiling.keys()
    assert not np.allclose(whole["r_precision"]["matching"], whole["judge_r_precision"]["matching"])
    assert real["r_precision"]["n"].sum() == 30 and isinstance(ceiling["clip_score"], float)
    plain = evaluator(*untrained).score(0, 40)  # other judges change nothing of its own
    assert (plain["r_precision"]["hits"] == whole["r_precision"]["hits"]).all()
    assert plain.keys() < whole.keys() and not names & (plain.keys() - {"r_precision"})


def test_real_images_are_judged_by_captions_of_their_own(packed: tuple[str, Manifest]) -> None:
    captions = UnseenCaptions(packed[0], seed=0)
    numbers = captions.of_real(range(captions.images))
    assert captions.images == 30 and (numbers // 10 == np.arange(30)).all() and len(set(numbers % 10)) == 10


def test_a_judge_that_is_no_judge_is_refused(untrained: tuple[Run, list[str]], judge: Run, tmp_path: Path) -> None:
    run, settings = untrained

    def config(*more: str) -> object:
        return load_config(None, [*settings, *more])

    with pytest.raises(ConfigError, match=r"evaluate.judge=.*untrained: .* holds the very encoders that the generator"):
        judges_sha256(load_config(None, [*settings, f"evaluate.judge={run.url}"]), run)
    for value, message in (
        ("0", "expected another seed than train.seed=0"),
        (str(tmp_path / "none"), "run.yaml: not found; expected a run with encoders, or a seed"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_judge(load_config(None, [*settings, f"evaluate.judge={value}"]), run)
    with pytest.raises(ConfigError, match=r"is pretrain.encoders, which generators are trained"):
        more = [f"evaluate.judge={judge.url}", f"pretrain.encoders={judge.url}"]
        check_judge(load_config(None, [*settings, *more]), run)


def test_a_seed_is_trained_once_beside_the_runs(untrained: tuple[Run, list[str]], tmp_path: Path) -> None:
    config, run = load_config(None, [*untrained[1], "evaluate.judge=7"]), Run(str(tmp_path / "runs" / "mine"))
    assert config.evaluate.judge == "7"
    calls: list[tuple[int, str]] = []

    def pretrain(chosen: object, place: Run) -> None:
        calls.append((chosen.train.seed, place.url))  # type: ignore[attr-defined]
        place.save_encoders(build_encoders(config.model, 5), load_manifest(config.data.url)[1])

    assert judges_sha256(config, untrained[0])["judge"] is None
    for _ in range(2):
        make_judge(config, run, pretrain)
    judge = judge_run(config, run)
    assert judge is not None and calls == [(7, judge.url)] and judge.read_config().train.seed == 7
    assert judge.url.startswith(str(tmp_path / "runs" / ".judges"))


def test_encoders_are_those_of_a_size_of_images_whatever_the_stages() -> None:
    config = load_config()
    other = load_config(None, ["model.base_size=64", "model.refinements=0"])
    assert encoders_key(config) == encoders_key(other) != encoders_key(load_config(None, ["model.base_size=32"]))


def test_a_clip_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluate.clip=.*nowhere: not found; expected a folder with a CLIP"):
        check_clip(str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="model_type bert; expected"):
        check_clip(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ConfigError, match=r"no model.safetensors or pytorch_model.bin there"):
        check_clip(str(tmp_path))


@pytest.mark.parametrize(("module", "size"), [(birds2, 24), (scenes, 24)])
def test_real_pictures_of_drawn_worlds_show_what_their_captions_say(
    module: object, size: int, untrained: tuple[Run, list[str]], tmp_path: Path
) -> None:
    """The whole of it: packed, read, judged; and noise is not mistaken for them."""
    entries = [entry for entry in module.records(76, 1) if entry.split == "test"]  # type: ignore[attr-defined]
    few = Source(module.NAME, Entries(lambda: islice(entries, size)))  # type: ignore[attr-defined]
    pack(few, str(tmp_path / "data"), PackOptions(resolution=64, processes=1), progress=False)
    run = Run(str(tmp_path / "run"))
    settings = [*untrained[1], f"data.url={tmp_path / 'data'}", "evaluate.images=8", "evaluate.max_words=28"]
    config, vocabulary = load_config(None, settings), load_manifest(str(tmp_path / "data"))[1]
    run.save_encoders(build_encoders(config.model, len(vocabulary)), vocabulary)
    run.save_generator(untrained[0].load_generator(), config, step=3, steps=3)
    made = evaluator(run, settings)
    whole, real = made.score(0, 8), made.real(0, size)
    found, ceiling = scores(whole, real, made.settings), ceilings(real, made.settings)
    checked = found.keys() & ceiling.keys() - {"r_precision"}
    assert len(checked) >= 4 and all(float(ceiling[name]) > 0.9 for name in checked)  # type: ignore[arg-type]
    assert all(float(found[name]) < 0.9 for name in checked)  # type: ignore[arg-type]
    assert all(table.counts.shape == (len(table.labels),) * 2 for table in confusions(whole, made.settings).values())
