from __future__ import annotations

import csv
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from datasets.packing.pack import PackOptions, pack
from datasets.sources import cub
from dmgan.architectures import build_generator
from dmgan.config import Model, load_config
from dmgan.launch import main as launch
from dmgan.model.discriminator import Discriminator
from dmgan.model.image_encoder import ImageEncoder, InceptionTrunk
from dmgan.model.text_encoder import TextEncoder
from dmgan.reference import (
    StateDictError,
    export,
    export_discriminator,
    load_discriminator,
    load_generator,
    load_image_encoder,
    load_text_encoder,
    main,
)
from dmgan.released.runs import export_run
from dmgan.runs.run import Run
from tests.dmgan.released.reference_errors import errors, recorded

KEYS = Path(__file__).parents[2] / "data" / "keys"
LIMITS = {
    "generator gradients": 1e-4,
    "discriminator gradients": 1e-4,
    "DAMSM gradients": 1e-4,
    # What the next BatchNorm takes away again: these gradients are what float32 leaves of a sum that nearly cancels.
    "generator gradients, biases that a BatchNorm follows": 5e-4,
}


def test_our_numbers_are_the_authors() -> None:
    found = errors()
    assert len(found) >= 25
    wrong = {quantity: worst for quantity, worst in found.items() if not worst[0] <= LIMITS.get(quantity, 1e-5)}
    assert not wrong


def full_size(network: str) -> dict[str, Tensor]:
    """Zeros under the names and shapes of the authors' checkpoint."""
    with (KEYS / f"{network}.tsv").open() as file:
        rows = list(csv.reader(file, delimiter="\t"))
    return {
        key: torch.zeros([] if shape == "scalar" else [int(n) for n in shape.split("x")], dtype=getattr(torch, dtype))
        for key, shape, dtype in rows
    }


LOADERS: dict[str, Callable[[dict[str, Tensor]], nn.Module]] = {
    "bird_netG": load_generator,
    "coco_netG": load_generator,
    "bird_netD0": load_discriminator,
    "bird_netD1": load_discriminator,
    "bird_netD2": load_discriminator,
    "coco_netD2": load_discriminator,
    "text_encoder": load_text_encoder,
    "text_encoder_coco": load_text_encoder,
    "image_encoder": load_image_encoder,
}


@pytest.mark.parametrize("network", LOADERS)
def test_full_size_checkpoints_load(network: str) -> None:
    with (KEYS / "totals.tsv").open() as file:
        totals = {row["net"]: row for row in csv.DictReader(file, delimiter="\t")}
    loaded = LOADERS[network](full_size(network))
    trainable = sum(p.numel() for p in loaded.parameters() if p.requires_grad)
    stored = loaded.state_dict()
    buffers = sum(b.numel() for name, b in loaded.named_buffers() if name in stored)
    vectors = sum(b.numel() for name, b in loaded.named_buffers() if name.endswith((".u", ".v")))
    assert trainable == int(totals[network]["params_requires_grad"])
    # Theirs keep the spectral norm's vectors as parameters, ours as buffers.
    everything = sum(p.numel() for p in loaded.parameters()) + vectors
    assert everything == int(totals[network]["params_all"])
    assert buffers - vectors == int(totals[network]["buffer_elements"])


def test_dataparallel_names_and_files_without_batch_counts_load() -> None:
    state = recorded()["sd_netG"]
    prefixed = {f"module.{k}": v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    ours = load_generator(prefixed).state_dict()
    for key, value in load_generator(state).state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(ours[key], value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("h_net3.key.0.bias"), "refinements.1.read.key.0.bias: missing tensor of shape 8"),
        (lambda s: s.update(extra=torch.zeros(2, 3)), "extra: unexpected tensor of shape 2×3"),
        (
            lambda s: s.update({"h_net2.A.weight": torch.zeros(1, 5)}),
            "h_net2.A.weight: has shape 1×5, expected 1×32",
        ),
        (lambda s: s.pop("ca_net.fc.weight"), "ca_net.fc.weight: missing"),
        (lambda s: s.update({"ca_net.fc.weight": torch.zeros(40)}), "ca_net.fc.weight: has shape 40, expected 2 dim"),
        (
            lambda s: s.update({"h_net1.fc.0.weight": torch.zeros(3, 8)}),
            "h_net1.fc.0.weight: has shape 3×8, expected (",
        ),
    ],
)
def test_what_does_not_fit_is_named(change: Callable[[dict[str, Tensor]], Any], message: str) -> None:
    state = dict(recorded()["sd_netG"])
    change(state)
    with pytest.raises(StateDictError) as caught:
        load_generator(state)
    assert str(caught.value).startswith(message)


def test_export_is_the_inverse_of_loading() -> None:
    for name, load in (("sd_netG", load_generator), ("sd_text_encoder", load_text_encoder)):
        state = recorded()[name]
        written = export(load(state))
        assert written.keys() == state.keys()
        assert all(torch.equal(written[key], value) for key, value in state.items())


def test_discriminators_are_written_back() -> None:
    for i in range(3):
        state = recorded()[f"sd_netD{i}"]
        written = export_discriminator(load_discriminator(state))
        assert written.keys() == state.keys()
        assert all(torch.equal(written[key], value) for key, value in state.items())
    with pytest.raises(StateDictError, match="images of 32 pixels: the authors' discriminators start at 64"):
        export_discriminator(Discriminator(32, 4, 8))


def test_attngans_generator_loads_and_is_written_back() -> None:
    sizes = {"word_dim": 8, "image_dim": 4, "condition_dim": 5, "noise_dim": 6, "base_size": 16}
    state = export(build_generator(Model.model_validate({"architecture": "attngan", **sizes})))
    assert state["h_net2.att.conv_context.weight"].shape == (4, 8, 1, 1)
    loaded = load_generator(state)
    assert loaded.options.architecture == "attngan" and loaded.options.base_size == 16
    assert all(torch.equal(export(loaded)[key], value) for key, value in state.items())
    with pytest.raises(StateDictError, match=r"model.memory=m: the authors released no such generator"):
        export(build_generator(Model.model_validate({"memory": "m", **sizes})))
    with pytest.raises(StateDictError, match=r"model.architecture=stackgan: the authors released no such generator"):
        export(build_generator(Model.model_validate({"architecture": "stackgan", **sizes})))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as the authors' archives hold them, at a small size."""
    folder = tmp_path_factory.mktemp("released")
    torch.manual_seed(0)
    words = ["<end>", "zebra", "a", "red", "bird", "with", "blue", "wings"]
    torch.save(export(TextEncoder(len(words), 32, 20)), folder / "text_encoder.pth")
    torch.save(export(ImageEncoder(InceptionTrunk(), 32)), folder / "image_encoder.pth")
    torch.save(recorded()["sd_netG"], folder / "netG.pth")
    numbered = [[[2, 3, 4]], [], dict(enumerate(words)), {word: i for i, word in enumerate(words)}]
    (folder / "captions.pickle").write_bytes(pickle.dumps(numbered, protocol=2))
    return folder


def arguments(folder: Path, out: Path) -> list[str]:
    files = {"generator": "netG.pth", "text-encoder": "text_encoder.pth", "image-encoder": "image_encoder.pth"}
    files["captions"] = "captions.pickle"
    return ["import", *(part for k, v in files.items() for part in (f"--{k}", str(folder / v))), "--out", str(out)]


def test_released_files_become_a_run_and_files_again(released: Path, tmp_path: Path) -> None:
    assert main(arguments(released, tmp_path / "runs" / "theirs")) == 0
    run = Run(str(tmp_path / "runs" / "theirs"))
    assert run.read_tokenizer(run.read_config()).words[1:3] == ("zebra", "a")
    assert run.read_config().model.image_sizes == [64, 128, 256]
    generate = ["generate", "--storage", str(tmp_path / "runs"), "--name", "theirs", "--out", str(tmp_path / "images")]
    assert launch([*generate, "--caption", "a red bird with blue wings"]) == 0
    assert (tmp_path / "images" / "grid.png").exists()
    assert main(arguments(released, tmp_path / "runs" / "theirs")) == 2  # there is a run already
    assert main(["export", "--run", run.url, "--out", str(tmp_path / "back")]) == 0
    for name in ("netG", "text_encoder", "image_encoder"):
        before = torch.load(released / f"{name}.pth", weights_only=True)
        after = torch.load(tmp_path / "back" / f"{name}.pth", weights_only=True)
        assert before.keys() == after.keys() and all(torch.equal(after[k], v) for k, v in before.items())
    run.write_config(load_config(run.read_config(), ["text.tokenizer=characters"]))
    run.write_json("vocabulary.json", {"tokenizer": "characters", "tokens": list(" abcdef"), "merges": []})
    with pytest.raises(StateDictError, match=r"^text.tokenizer=characters: the authors' captions.pickle holds words"):
        export_run(run.url, str(tmp_path / "characters"))
    assert not (tmp_path / "characters").exists()


@pytest.mark.distributed
def test_an_imported_run_is_evaluated(released: Path, cub_source: Path, tmp_path: Path) -> None:
    assert main(arguments(released, tmp_path / "runs" / "theirs")) == 0
    pack(cub.read(cub_source), str(tmp_path / "data"), PackOptions(resolution=256), progress=False)
    given = {"data.url": tmp_path / "data", "evaluate.features": "damsm", "evaluate.images": 12, "evaluate.folds": 2}
    sets = [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
    assert launch(["evaluate", "--storage", str(tmp_path / "runs"), "--name", "theirs", *sets]) == 0
    evaluation = Run(str(tmp_path / "runs" / "theirs")).read_json("evaluation.json")
    assert evaluation["images"] == 12 and evaluation["fid"] > 0 and evaluation["features"] == "damsm"


def test_files_that_run_code_or_do_not_fit_are_refused(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for path in released.iterdir():
        (folder / path.name).symlink_to(path)

    def refusal(name: str, content: bytes) -> str:
        (folder / name).unlink()
        (folder / name).write_bytes(content)
        capsys.readouterr()
        assert main(arguments(folder, tmp_path / "run")) == 2
        (folder / name).unlink()
        (folder / name).symlink_to(released / name)
        return capsys.readouterr().err

    assert "netG.pth: not a file of tensors alone" in refusal("netG.pth", b"nonsense")
    assert "captions.pickle: not a readable pickle" in refusal("captions.pickle", b"nonsense")
    short = pickle.dumps([[], [], {0: "<end>"}, {}], protocol=2)
    assert "has 1 words, the text encoder was trained with 8" in refusal("captions.pickle", short)
    wrong = (released / "text_encoder.pth").read_bytes()
    assert "netG.pth: h_net1.fc.0.weight: missing" in refusal("netG.pth", wrong)
    assert not (tmp_path / "run").exists()
