from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.errors import UserError
from dmgan import Request, TextToImage
from dmgan.architectures import build_generator
from dmgan.config import load_config
from dmgan.model.build import build_encoders
from dmgan.model.text_encoders import learn_tokenizer
from dmgan.runs.run import Run

ROOT = Path(__file__).parents[3]
RED, BLUE = "this bird is red", "a small blue bird with a long bill"


@pytest.fixture(scope="module")
def model(untrained: tuple[Run, list[str]]) -> TextToImage:
    return TextToImage.from_run(untrained[0].url, device="cpu")


def furthest(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_pictures_come_caption_by_caption_and_noise_by_noise_with_every_stage(model: TextToImage) -> None:
    result = model([RED, BLUE], count=3, seed=5)
    assert [(d.caption, d.number, d.seed) for d in result.drawings] == [
        (c, n, 5) for c in (RED, BLUE) for n in range(3)
    ]
    assert [image.size for image in result.images] == [(model.resolution,) * 2] * 6
    first = result.drawings[0]
    assert [stage.size[0] for stage in first.stages] == model.config.model.image_sizes
    assert np.array_equal(np.asarray(first.stages[-1]), np.asarray(first.image))
    assert (model.name, model.step) == ("untrained", 3)
    assert model.vocabulary is not None and "red" in model.vocabulary and "<end>" not in model.vocabulary


def test_a_picture_depends_on_seed_caption_and_number_and_not_on_what_is_drawn_beside_it(model: TextToImage) -> None:
    whole = model([RED, BLUE, "a bird"], count=4, batch_size=12).drawings
    single = {(d.caption, d.number): d for d in model(["a bird", BLUE, RED], count=4, batch_size=1).drawings}
    for drawing in whole:
        other = single[drawing.caption, drawing.number]
        assert all(furthest(*pair) <= 1 for pair in zip(drawing.pixels, other.pixels, strict=True))
        np.testing.assert_allclose(drawing.attention[-1], other.attention[-1], atol=1e-4)
    pictures = [d.pixels[-1] for d in whole] + [d.pixels[-1] for d in model([RED], seed=1).drawings]
    apart = [furthest(a, b) for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(apart) > 1  # another number, caption or seed is another picture


def test_the_released_mask_draws_a_caption_as_if_it_were_alone(
    untrained: tuple[Run, list[str]], model: TextToImage
) -> None:
    config = load_config(untrained[0].read_config(), ["model.padding_mask=interleaved"])
    generator = build_generator(config.model)
    generator.load_state_dict(model.generator.state_dict())
    released = TextToImage("x", 3, config, generator.eval(), model.text, model.tokenizer)
    pairs = zip(released([RED, BLUE]).drawings, model([RED, BLUE]).drawings, strict=True)
    assert all(furthest(a.pixels[-1], b.pixels[-1]) <= 1 for a, b in pairs)


def test_a_million_requests_are_taken_a_batch_at_a_time(model: TextToImage) -> None:
    taken = 0

    def requests() -> Iterator[Request]:
        nonlocal taken
        for taken in range(1, 10**6):
            yield Request(RED, taken)

    drawings = model.draw(requests(), batch_size=4)
    assert taken == 0
    assert next(drawings).number == 1 and taken == 4
    assert next(drawings).attention == []  # only where maps are asked for


def test_a_drawing_says_which_words_were_read_and_where(model: TextToImage) -> None:
    (drawing,) = model([f"{RED} brid zzz"]).drawings
    assert drawing.words == RED.split() and drawing.unknown_words == ["brid", "zzz"]
    sizes = model.config.model.image_sizes
    assert [maps.shape for maps in drawing.attention] == [(4, size, size) for size in sizes[:-1]]
    assert all(np.allclose(maps.sum(0), 1, atol=1e-4) for maps in drawing.attention)
    for maps, reading in zip(drawing.attention, drawing.reading, strict=True):
        np.testing.assert_allclose(maps.mean((1, 2)), reading, atol=1e-5)
    assert [gates.shape for gates in drawing.writing_gates] == [(4,), (4,)]
    assert [gates.shape for gates in drawing.response_gates] == [(size, size) for size in sizes[:-1]]
    reading = model.read("red " * 30)
    assert (len(reading.words), reading.tokens) == (model.max_words, 30)


def test_truncation_keeps_the_noise_within_its_limit_and_given_noise_is_used(model: TextToImage) -> None:
    seen: list[torch.Tensor] = []
    handle = model.generator.register_forward_pre_hook(lambda module, inputs: seen.extend([inputs[0], inputs[4]]))
    list(model.draw([Request(RED, n, truncation=0.4) for n in range(64)], batch_size=64))
    given = torch.linspace(-2, 2, model.generator.noise_dim)
    list(model.draw([Request(RED, noise=given)]))
    handle.remove()
    cut, eps, own, _ = seen
    assert float(cut.abs().max()) <= 0.4 and float(eps.abs().max()) <= 0.4
    assert abs(float(cut.std()) - 0.4 / 3**0.5) < 0.02  # a narrow cut of the normal is nearly even
    assert torch.equal(own[0], given)
    far = model([RED], truncation=50.0).drawings[0]
    assert furthest(far.pixels[-1], model([RED]).drawings[0].pixels[-1]) <= 1  # none


def test_the_same_words_in_another_tokenizer_have_no_vocabulary(
    untrained: tuple[Run, list[str]], tmp_path: Path
) -> None:
    shutil.copytree(untrained[0].url, tmp_path / "run")
    run, config = Run(str(tmp_path / "run")), load_config(None, [*untrained[1], "text.tokenizer=characters"])
    tokenizer = learn_tokenizer(config)
    run.save_encoders(build_encoders(config.model, len(tokenizer)), tokenizer)
    run.write_config(config)
    model = TextToImage.from_run(run.url)
    assert model.vocabulary is None
    assert model(["red"]).drawings[0].words == list("red")


def test_bfloat16_is_near_float32(untrained: tuple[Run, list[str]], model: TextToImage) -> None:
    other = TextToImage.from_run(untrained[0].url, device="cpu", dtype="bfloat16")
    exact, near = (m([RED]).drawings[0].pixels[-1].astype(int) for m in (model, other))
    assert 0 < np.abs(exact - near).mean() < 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device=gpu: unknown; expected cpu, cuda or cuda:NUMBER"),
        ({"device": "cuda:99"}, "device=cuda:99: not there; there are: cpu"),
        ({"device": "meta"}, "device=meta: not there; there are: cpu"),
        ({"dtype": "float8"}, "dtype=float8: expected float32, bfloat16, float16"),
        ({"step": 7}, "no checkpoint of step 7; there are: none"),
        ({"step": "last"}, "step=last: expected a whole number of at least 0"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(
    untrained: tuple[Run, list[str]], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError) as error:
        TextToImage.from_run(untrained[0].url, **options)  # type: ignore[arg-type]
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("captions", "options", "message"),
    [
        (RED, {}, f"captions={RED}: expected a list of captions"),
        (["zebra"], {}, "caption 'zebra': none of its words is in the vocabulary"),
        ([3], {}, "caption 3: expected a text"),
        ([RED], {"count": 0}, "count=0: expected a whole number of at least 1"),
        ([RED], {"batch_size": 0}, "batch_size=0: expected a whole number of at least 1"),
        ([RED], {"seed": -1}, "seed=-1: expected a whole number of at least 0"),
        ([RED], {"seed": 0.5}, "seed=0.5: expected a whole number of at least 0"),
        ([RED], {"truncation": 0}, "truncation=0: expected a number above 0"),
        ([RED], {"truncation": float("nan")}, "truncation=nan: expected a number above 0"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    model: TextToImage, captions: list[str], options: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError) as error:
        model(captions, **options)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_noise_of_another_size_is_refused(model: TextToImage) -> None:
    with pytest.raises(UserError, match=r"noise of shape \(3,\): expected 8 finite numbers"):
        list(model.draw([Request(RED, noise=[0.0, 1.0, 2.0])]))


def test_importing_the_package_loads_no_torch_and_drawing_no_ray(untrained: tuple[Run, list[str]]) -> None:
    code = f"""
import sys
import dmgan
assert dmgan.__version__ and "torch" not in sys.modules
from dmgan import TextToImage
TextToImage.from_run({untrained[0].url!r}, device="cpu")(["{RED}"])
print(sorted({{"ray", "deepspeed"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stderr
