"""An exported model's folder, in the layout of a Hub repository.

README.md, tokenizer.json, samples.png, and of the formats asked for
    onnx            model.onnx
    torchscript     model.torchscript.pt
    safetensors     run.yaml, vocabulary.json, generator.safetensors, generator.json, encoders.safetensors
"""

from __future__ import annotations

from collections.abc import Sequence

from datasets import storage
from dmgan.config import ConfigError
from dmgan.drawing.text_to_image import TextToImage
from dmgan.evaluation.record import Evaluation
from dmgan.export.card import card, samples_of
from dmgan.export.networks import check_format, network_files
from dmgan.export.tokenizer import exported_tokenizer

__all__ = ["check_folder", "export"]

_OURS = {"README.md", "tokenizer.json", "samples.png", "model.onnx", "model.torchscript.pt", "run.yaml"}
_OURS |= {"vocabulary.json", "generator.safetensors", "generator.json", "encoders.safetensors"}


def check_folder(url: str, formats: Sequence[str]) -> int:
    """How many files of an earlier export will be replaced. Raises ConfigError for other files, and unknown formats."""
    for format in formats:
        check_format(format)
    there = set(storage.list_sizes(url))
    if others := sorted(there - _OURS):
        raise ConfigError(f"--out {url}: holds other files ({others[0]}); choose an empty folder, or remove them")
    if "metrics.jsonl" in there or (there and "README.md" not in there):
        raise ConfigError(f"--out {url}: holds {sorted(there)[0]} and no model card; choose an empty folder")
    return len(there)


def export(
    model: TextToImage,
    evaluation: Evaluation | None,
    url: str,
    formats: Sequence[str],
    license: str,
    captions: Sequence[str] = (),
) -> list[str]:
    """Write the folder; returns the names of its files. Nothing is written before all is made. Raises UserError."""
    files = {"tokenizer.json": exported_tokenizer(model).to_str(pretty=True).encode()}
    for format in formats:
        files |= network_files(model, format)
    samples = samples_of(model, evaluation, captions)
    if samples is not None:
        files["samples.png"] = samples.png
    files["README.md"] = card(model, evaluation, samples, formats, license).encode()
    for name in sorted(set(storage.list_sizes(url)) - files.keys()):
        storage.remove(storage.join(url, name))  # of an earlier export: the card no longer tells of it
    for name, content in files.items():
        storage.write_bytes(storage.join(url, name), content)
    return sorted(files)
