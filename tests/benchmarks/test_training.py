from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.released_networks import ReleasedDiscriminator, ReleasedGenerator
from benchmarks.released_pretraining import ReleasedPretraining
from benchmarks.released_procedure import ReleasedTraining, judged
from benchmarks.training import main
from benchmarks.training_scaling import Messages, scaling, scaling_table
from benchmarks.training_ways import Work
from dmgan.architectures import damsm_training, gan_training
from dmgan.config import Model, load_config
from dmgan.model.build import build_encoders
from dmgan.reference import export, load_generator
from dmgan.training.batch import TrainingBatch
from dmgan.training.engine import plain_engine
from dmgan.training.outcome import pyramid
from tests.dmgan.released.reference_errors import recorded
from tests.small import batch

CPU = torch.device("cpu")
TINY = [
    "model.word_dim=8",
    "model.image_dim=4",
    "model.memory_dim=8",
    "model.condition_dim=5",
    "model.noise_dim=6",
    "model.discriminator_width=4",
    "model.embedding_dim=6",
    "model.refinements=1",
]


def sizes() -> Model:
    """Those of the recordings."""
    return load_generator(recorded()["sd_netG"]).options.model_copy(update={"discriminator_width": 4})


def test_the_released_procedures_networks_give_the_recorded_numbers() -> None:
    data = recorded()
    given, text = data["inputs"], data["text_out"]
    generator = ReleasedGenerator(sizes())
    generator.load_state_dict(data["sd_netG"])
    with torch.no_grad():
        images, mu, logvar = generator(given["noise"], text["sent_emb"], text["words_emb"], text["mask"], given["eps"])
    torch.testing.assert_close(mu, data["g_train"]["mu"])
    torch.testing.assert_close(logvar, data["g_train"]["logvar"])
    for size, image in zip((64, 128, 256), images, strict=True):
        theirs = data["g_train"][f"fake{size}"]
        ours = image if theirs.shape == image.shape else image[..., ::8, ::8]
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-5
    for i, size in enumerate((64, 128, 256)):
        discriminator = ReleasedDiscriminator(size, sizes())
        discriminator.load_state_dict(data[f"sd_netD{i}"])
        real = F.avg_pool2d(given["real256"], 256 // size)
        loss = judged(discriminator, real, data["g_train"][f"fake{size}"], text["sent_emb"])
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(data[f"d{i}"]["errD"]), rel=1e-6)
        for name, value in data[f"grad_netD{i}"].items():
            grad = discriminator.get_parameter(name).grad
            assert grad is not None and float((grad - value).norm() / value.norm()) < 1e-4, name


def test_our_generator_is_the_released_one_in_double_precision() -> None:
    data = recorded()
    text = {name: value.double() for name, value in data["text_out"].items() if value.is_floating_point()}
    noise, eps = (data["inputs"][name].double() for name in ("noise", "eps"))
    ours, theirs = load_generator(data["sd_netG"]).double().train(), ReleasedGenerator(sizes()).double()
    ours.interleaved_mask = True
    theirs.load_state_dict(data["sd_netG"])
    given = (noise, text["sent_emb"], text["words_emb"], data["text_out"]["mask"], eps)
    found, (images, _, _) = ours(*given).images, theirs(*given)
    for a, b in zip(found, images, strict=True):
        assert float((a - b).detach().abs().max()) < 1e-12
    for produced in (found, images):
        torch.stack([(image * image.detach().roll(1, 2)).sum() for image in produced]).sum().backward()
    grads = {name: p.grad for name, p in theirs.named_parameters()}
    for p in ours.parameters():
        assert p.grad is not None
        p.data = p.grad
    for name, value in export(ours).items():
        if name in grads and not name.endswith("block.4.bias"):  # a BatchNorm takes those away again: rounding is left
            assert float((grads[name] - value).norm() / value.norm()) < 1e-10, name


def sorted_batch(size: int, pixels: int) -> TrainingBatch:
    """The released text encoder wants the longest caption first."""
    given = batch(size, pixels)
    order = given.lengths.argsort(descending=True)
    return TrainingBatch(given.images[order], given.ids[order], given.lengths[order], given.classes[order])


@pytest.mark.parametrize(("align_corners", "closeness"), [(True, 2e-6), (False, None)])
def test_steps_of_the_released_procedure_and_of_ours_give_equal_losses(
    align_corners: bool, closeness: float | None
) -> None:
    """With the released presets' settings; the resize of the image encoder shows in DAMSM's losses."""
    config = load_config("cub-released", [*TINY, f"model.align_corners={align_corners}"])
    torch.manual_seed(0)
    encoders = build_encoders(config.model, 20).eval().requires_grad_(False)
    for part in encoders.image.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)  # torch's own gives all images nearly equal features
    ours = gan_training(config, encoders, plain_engine, CPU)
    theirs = ReleasedTraining(config, ours, CPU)
    given = sorted_batch(4, 128)
    real = pyramid(given.images, config.model.image_sizes, config.objective.smaller_images)
    for number in range(2):
        released, found = theirs.step(real, given, number), ours.step(given, number).losses
        assert released.keys() == found.keys()
        apart = {name: abs(float(found[name] / released[name]) - 1) for name in found}
        if closeness is None:
            assert max(apart["words"], apart["sentence"]) > 1e-5
            return
        # Adam makes whole steps out of the rounding of gradients near 0, hence more after the first.
        assert max(apart.values()) < (closeness if number == 0 else 1e-3), apart


def test_steps_of_the_released_pretraining_and_of_ours_give_equal_losses() -> None:
    config = load_config("cub-released", [*TINY, "pretrain.dropout=0", "model.align_corners=true"])
    torch.manual_seed(0)
    ours = damsm_training(config, 20, plain_engine, CPU, steps=10)
    for part in ours.encoders.module.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
    ours.encoders.module.load_state_dict(ours.encoders.module.state_dict())  # what was folded of others is no more
    theirs = ReleasedPretraining(config, ours, CPU)
    given = sorted_batch(4, 64)
    for number in range(3):
        released, found = theirs.step(given, number), ours.step(given, number).losses
        assert released.keys() == found.keys()
        assert all(float(found[name]) == pytest.approx(float(value), rel=1e-4) for name, value in released.items())


@pytest.mark.distributed
def test_a_benchmark_prints_ratios_and_ends_with_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")  # to compile Inception takes a processor minutes
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text("\n".join(["model:", *(f"  {key.removeprefix('model.').replace('=', ': ')}" for key in TINY)]))
    # bfloat16 would take minutes of a processor that has no units for it.
    ours_ways = ["--ours", "float32", "float32-compiled"]
    with torch.compiler.set_stance("force_eager"):  # here; the variable is for processes that measure memory
        assert main(["--preset", str(tiny), "--batch", "2", "--rounds", "1", *ours_ways, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    ratio, ours, released = result["ratio_float32"], result["float32"], result["released"]
    assert result["ratio_float32_range"] == [ratio, ratio]
    assert ratio == pytest.approx(released["seconds"] / ours["seconds"])
    assert result["float32-compiled"]["flops"] == ours["flops"] < released["flops"]
    assert ours["flops_per_second"] == pytest.approx(ours["flops"] / ours["seconds"])
    assert 0.2 < result["memory_ratio"] < 2
    assert set(result["parts"]) == {
        "generator forward",
        "discriminators",
        "image encoder",
        "generator backward",
        "the rest",
    }
    assert sum(line.startswith(("| released |", "| float32 |", "| float32-compiled |")) for line in lines) == 3


@pytest.mark.distributed
def test_every_message_of_a_step_on_two_processes_is_counted() -> None:
    rows = scaling(Work("quickstart", 2, CPU), [1, 2], [1, 3], rounds=1)
    found = {(row["workers"], row["zero_stage"], row["overlap"]): row for row in rows}
    assert list(found) == [
        (n, stage, overlap) for stage in (1, 3) for n, overlap in ((1, False), (2, False), (2, True))
    ]
    # ZeRO 1 gathers the weights once an engine; ZeRO 3 each part of a network when it computes, forward and backward.
    assert found[1, 1, False]["messages"] + 4 < found[2, 1, False]["messages"] < 20 < found[2, 3, False]["messages"]
    for row in rows:
        waited, hidden = row["messages_not_hidden"], row["messages_hidden"]
        assert hidden >= 0 and waited > 0 and waited + hidden <= row["seconds"], row
    assert len(scaling_table(rows).splitlines()) == 8


def test_messages_at_once_count_once() -> None:
    assert Messages([(4.0, 5.0), (1.0, 3.0), (2.0, 2.5), (2.5, 3.5)]).under_way == 3.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "1"], "--batch 1 --rounds 5: expected at least 2 and 1"),
        (["--workers", "1,x"], "--workers 1,x: expected numbers with commas between them, e.g. 1,2"),
        (["--workers", "0"], "expected positive numbers of workers, and for them stages from 0 to 3"),
        (["--workers", "1", "--zero", "4"], "expected positive numbers of workers, and for them stages from 0 to 3"),
        (["--zero", "1"], "expected positive numbers of workers, and for them stages from 0 to 3"),
        (["--preset", "quickstart"], "--preset quickstart: expected networks as released"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    found = capsys.readouterr().err
    assert found.count("\n") == 1 and message in found
