"""A CLIP (Radford et al., 2021) from a folder in Hugging Face's format, by `transformers`. Nothing is downloaded."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import storage
from datasets.errors import short_reason
from dmgan.config import ConfigError

__all__ = ["ClipNetwork", "check_clip", "clip_sha256"]

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# Of CLIP's own preprocessing, where preprocessor_config.json does not say others.
_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_WANTED = (
    "a folder with a CLIP in Hugging Face's format (config.json, model.safetensors, tokenizer.json or vocab.json and "
    "merges.txt), such as openai/clip-vit-base-patch32"
)


def check_clip(folder: str) -> None:
    """Raise ConfigError, in one line, where there is no CLIP in the folder, or nothing to read it with."""
    where = f"evaluate.clip={folder}"
    files = _files(folder)
    if "config.json" not in files:
        raise ConfigError(f"{where}: {'no config.json there' if files else 'not found'}; expected {_WANTED}")
    try:
        kind = json.loads(storage.read_bytes(storage.join(folder, "config.json"))).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{where}: config.json: damaged: {error}; expected {_WANTED}") from error
    if kind != "clip":
        raise ConfigError(f"{where}: config.json: model_type {kind}; expected {_WANTED}")
    if not set(_WEIGHTS) & files:
        raise ConfigError(f"{where}: no {' or '.join(_WEIGHTS)} there; expected {_WANTED}")
    if "tokenizer.json" not in files and not {"vocab.json", "merges.txt"} <= files:
        raise ConfigError(f"{where}: no tokenizer.json there, nor vocab.json and merges.txt; expected {_WANTED}")
    if find_spec("transformers") is None:
        raise ConfigError(
            f"{where}: transformers is not installed; expected `pip install -e '.[clip]' -c constraints.txt`"
        )


def clip_sha256(folder: str) -> str:
    """Of all files that the network is read from."""
    digest = hashlib.sha256()
    for name in sorted(_files(folder)):
        if name.endswith((".json", ".txt", ".safetensors", ".bin")):
            digest.update(name.encode() + hashlib.sha256(storage.read_bytes(storage.join(folder, name))).digest())
    return digest.hexdigest()


class ClipNetwork:
    """Projections of sentences and images, in float32. Raises ConfigError for a network that cannot be read."""

    def __init__(self, folder: str, device: torch.device) -> None:
        check_clip(folder)
        import dmgan.model.torchvision_cpu  # noqa: F401, I001  # transformers imports torchvision
        from transformers import AutoTokenizer, CLIPModel

        with _local(folder) as place:
            try:
                self._network: Any = CLIPModel.from_pretrained(place, local_files_only=True, dtype=torch.float32)
                self._tokenizer: Any = AutoTokenizer.from_pretrained(place, local_files_only=True)
            except Exception as error:  # a damaged folder makes it raise anything
                reason = short_reason(error, 200)
                raise ConfigError(f"evaluate.clip={folder}: damaged or another network: {reason}") from error
            self._mean, self._deviation = _normalisation(place, device)
        self._network = self._network.to(device).eval().requires_grad_(False)
        self._device = device
        self._pixels = int(self._network.config.vision_config.image_size)
        self._words = int(self._network.config.text_config.max_position_embeddings)

    @property
    def dimensions(self) -> int:
        return int(self._network.config.projection_dim)

    @torch.no_grad()
    def sentences(self, captions: Sequence[str]) -> Tensor:
        """(N, D) of captions; of a longer one than CLIP reads the first words."""
        if not captions:
            return torch.zeros(0, self.dimensions, device=self._device)
        tokens = self._tokenizer(
            list(captions), padding=True, truncation=True, max_length=self._words, return_tensors="pt"
        ).to(self._device)
        inputs = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        return _tensor(self._network.get_text_features(**inputs))

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """(N, D) of square uint8 images (N, 3, S, S), resized bicubically with antialiasing as CLIP's are."""
        shown = images.float() / 255
        if shown.shape[-1] != self._pixels:
            size = (self._pixels, self._pixels)
            shown = F.interpolate(shown, size, mode="bicubic", antialias=True).clamp(0, 1)
        return _tensor(self._network.get_image_features(pixel_values=(shown - self._mean) / self._deviation))


def _tensor(features: Any) -> Tensor:
    """The projection, which releases of transformers from 5 on wrap together with the tower's states."""
    found: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return found


def _normalisation(folder: str, device: torch.device) -> tuple[Tensor, Tensor]:
    file = Path(folder) / "preprocessor_config.json"
    told = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    values = (told.get("image_mean", _MEAN), told.get("image_std", _DEVIATION))
    mean, deviation = (torch.tensor(value, device=device).view(1, 3, 1, 1) for value in values)
    return mean, deviation


def _files(folder: str) -> set[str]:
    try:
        return set(storage.list_sizes(folder)) if storage.exists(folder) else set()
    except OSError:  # a file
        return set()


@contextmanager
def _local(folder: str) -> Iterator[str]:
    """The folder on this machine: transformers reads no buckets."""
    if storage.is_local(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="dmgan-clip-") as copy:
        for name in _files(folder):
            (Path(copy) / name).write_bytes(storage.read_bytes(storage.join(folder, name)))
        yield copy
