"""Text encoder and generator as one network, in ONNX, TorchScript or safetensors.

ids int64 (B, T) padded with 0, noise z (B, Z), eps ε (B, C) -> the image of each stage (B, 3, H, W) in [−1, 1], small
to large. B is free, T is `evaluate.max_words`.
"""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from dmgan.config import Config, ConfigError, keys_with, with_values
from dmgan.drawing.text_to_image import TextToImage
from dmgan.runs.run import generator_json

__all__ = ["FORMATS", "INPUTS", "check_format", "network_files", "output_names"]

INPUTS = ("ids", "noise", "eps")
_NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torchscript": (), "safetensors": ()}
FORMATS = tuple(_NEEDS)
_TOLERANCE = 1e-3  # of a pixel in [−1, 1], between the exported network and ours


class _Drawer(nn.Module):
    """Both networks: ids, noise, eps -> images."""

    def __init__(self, model: TextToImage) -> None:
        super().__init__()
        self.text, self.generator = model.text, model.generator

    def forward(self, ids: Tensor, noise: Tensor, eps: Tensor) -> tuple[Tensor, ...]:
        words, sentence = self.text(ids, (ids != 0).sum(1))
        return tuple(self.generator(noise, sentence, words, ids == 0, eps).images)


def check_format(format: str) -> None:
    """Raise ConfigError for an unknown format, or one whose libraries are not installed."""
    if format not in FORMATS:
        raise ConfigError(f"--format {format}: expected {', '.join(FORMATS)}")
    if missing := [name for name in _NEEDS[format] if find_spec(name) is None]:
        raise ConfigError(f"--format {format}: {missing[0]} is not installed; pip install {' '.join(_NEEDS[format])}")


def output_names(model: TextToImage) -> list[str]:
    """The exported network's outputs."""
    return [f"stage{i}" for i in range(len(model.resolutions))]


def network_files(model: TextToImage, format: str) -> dict[str, bytes]:
    """The files of a format by name. Raises ConfigError where it draws other pictures, or cannot be made."""
    check_format(format)
    if format == "safetensors":
        return _run_files(model)
    try:
        return {"model.onnx": _onnx(model)} if format == "onnx" else {"model.torchscript.pt": _torchscript(model)}
    except ConfigError:
        raise
    except Exception as error:  # of a network of somebody else's that the format cannot express: of many kinds
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"--format {format}: model.architecture={model.config.model.architecture}: {said}") from error


def _inputs(model: TextToImage, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random ones, with captions of several lengths."""
    random = torch.Generator().manual_seed(batch)
    ids = torch.randint(1, len(model.tokenizer), (batch, model.max_words), generator=random)
    lengths = torch.arange(batch) % model.max_words + 1
    ids[torch.arange(model.max_words)[None] >= lengths[:, None]] = 0
    noise = torch.randn(batch, model.generator.noise_dim, generator=random)
    return ids, noise, torch.randn(batch, model.generator.condition_dim, generator=random)


def _check_same(model: TextToImage, format: str, draw: Callable[..., Sequence[np.ndarray]]) -> None:
    """Raise ConfigError where `draw` gives other images, of a batch of another size than it was made with."""
    inputs = _inputs(model, 3)
    with torch.no_grad():
        ours = [images.numpy() for images in _Drawer(model)(*inputs)]
    apart = max(float(np.abs(a - b).max()) for a, b in zip(ours, draw(*inputs), strict=True))
    if not apart < _TOLERANCE:
        raise ConfigError(f"--format {format}: draws other pictures, {apart:.2g} from ours; expected {_TOLERANCE}")


def _onnx(model: TextToImage) -> bytes:
    import onnxruntime

    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Drawer(model).eval(),
            _inputs(model, 2),
            dynamo=True,
            verbose=False,
            input_names=list(INPUTS),
            output_names=output_names(model),
            dynamic_shapes=({0: batch},) * len(INPUTS),
        )
    assert program is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        program.save(path)
        content = path.read_bytes()
    session = onnxruntime.InferenceSession(content)

    def draw(*inputs: Tensor) -> Sequence[np.ndarray]:
        return session.run(None, {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)})

    _check_same(model, "onnx", draw)
    return content


def _torchscript(model: TextToImage) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(_Drawer(model).eval(), _inputs(model, 2))
        torch.jit.save(traced, buffer)
        loaded = torch.jit.load(io.BytesIO(buffer.getvalue()))
        _check_same(model, "torchscript", lambda *inputs: [images.numpy() for images in loaded(*inputs)])
    return buffer.getvalue()


def _run_files(model: TextToImage) -> dict[str, bytes]:
    """What `TextToImage.from_run` reads: the weights, without the image encoder, and a configuration without paths."""
    config = _portable(model.config)
    generator = {name: tensor.contiguous() for name, tensor in model.generator.state_dict().items()}
    text = {f"text.{name}": tensor.contiguous() for name, tensor in model.text.state_dict().items()}
    return {
        "run.yaml": config.to_yaml().encode(),
        "vocabulary.json": model.tokenizer.to_json().encode(),
        "generator.safetensors": safetensors.torch.save(generator),
        "generator.json": generator_json(config, model.step, model.step),
        "encoders.safetensors": safetensors.torch.save(text),
    }


def _portable(config: Config) -> Config:
    """Without paths and buckets, which are of no use elsewhere."""
    paths: dict[str, object] = dict.fromkeys(keys_with("path"))
    return with_values(config, {**paths, "data.url": "", "data.draw_birds": False})
