"""What IS and FID are computed on: an extractor of torch-fidelity, or the run's own image encoder (`damsm`).

torch-fidelity's Inception-v3 is the TensorFlow network of 2015 that FID and IS are defined on. It resizes as that did,
bilinearly to 299 pixels without antialiasing.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import io
import pickle
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import storage
from datasets.errors import short_reason
from dmgan.config import ConfigError, Evaluate
from dmgan.model.folding import fold_batch_norms, keep_folded

__all__ = [
    "DAMSM",
    "INCEPTION",
    "OWN_WEIGHTS",
    "DamsmFeatures",
    "FidelityFeatures",
    "check_extractor",
    "describe_extractor",
]

INCEPTION, DAMSM = "inception-v3", "damsm"
_INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
_INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{_INCEPTION_FILE}"
_INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_INCEPTION_CLASSES = 1008
OWN_WEIGHTS = "torch-fidelity's"


def check_extractor(options: Evaluate) -> None:
    """Raise ConfigError, in one line, where the extractor the configuration names cannot be had."""
    if options.features == DAMSM:
        return
    if options.features == INCEPTION:
        if options.features_weights is None:
            raise ConfigError(f"evaluate.features_weights: not set; expected the path of {_wanted()}")
        if not storage.exists(options.features_weights):
            raise ConfigError(f"evaluate.features_weights={options.features_weights}: not found; expected {_wanted()}")
        _inception(_inception_state(options)[0], options)
        return
    kinds = _registered(options.features_module)
    if options.features not in kinds:
        raise ConfigError(
            f"evaluate.features={options.features}: expected {INCEPTION}, {DAMSM} or what evaluate.features_module "
            f"registers with torch-fidelity, which has {', '.join(sorted(kinds))}"
        )
    _layers(options.features, kinds)
    weights = options.features_weights
    if weights is None and kinds[options.features].__module__.startswith("torch_fidelity."):
        raise ConfigError(
            f"evaluate.features_weights: not set; expected the path of {options.features}'s weights, which "
            "torch-fidelity would download"
        )
    if weights is not None and not storage.exists(weights):
        raise ConfigError(f"evaluate.features_weights={weights}: not found")


def _wanted() -> str:
    return (
        f"torch-fidelity's Inception weights {_INCEPTION_FILE} ({_INCEPTION_URL}, SHA-256 {_INCEPTION_SHA256}); or "
        "set evaluate.features=damsm or evaluate.enabled=false"
    )


def describe_extractor(options: Evaluate, encoders_sha256: str, gamma3: float) -> dict[str, object]:
    """What the protocol says of the extractor; γ3 sharpens the classes of `damsm`. Raises ConfigError."""
    if options.features == DAMSM:
        return {
            "name": DAMSM,
            "weights_sha256": encoders_sha256,
            "layers": {"fid": "image code", "isc": "γ3 times the cosine with each class's mean sentence"},
            "gamma3": gamma3,
            "resizer": "the image encoder's own",
            "antialiasing": False,
        }
    if options.features == INCEPTION:
        checksum = _inception_state(options)[1]
        return {
            "name": INCEPTION,
            "torch_fidelity": metadata.version("torch-fidelity"),
            "weights": OWN_WEIGHTS if checksum == _INCEPTION_SHA256 else "not torch-fidelity's",
            "weights_sha256": checksum,
            "classes": options.features_classes,
            "layers": _inception_layers(options.features_classes),
            "resizer": "bilinear to 299 pixels as in TensorFlow 1",
            "antialiasing": False,
        }
    weights, kind = options.features_weights, _registered(options.features_module)[options.features]
    return {
        "name": options.features,
        "torch_fidelity": metadata.version("torch-fidelity"),
        "source_sha256": hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest(),
        "weights_sha256": None if weights is None else hashlib.sha256(storage.read_bytes(weights)).hexdigest(),
        "layers": _layers(options.features, _registered(options.features_module)),
        "resizer": "the extractor's own",
        "antialiasing": None,
    }


class FidelityFeatures:
    """An extractor of torch-fidelity's registry, Inception-v3 or another. Raises ConfigError."""

    def __init__(self, options: Evaluate, device: torch.device) -> None:
        if options.features == INCEPTION:
            self._layers = _inception_layers(options.features_classes)
            network = _inception(_inception_state(options)[0], options)
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # ×1.4 (docs/speed.md)
            fold_batch_norms(network)
            keep_folded(network)
        else:
            kinds = _registered(options.features_module)
            self._layers = _layers(options.features, kinds)
            content = None if options.features_weights is None else storage.read_bytes(options.features_weights)
            network = _with_file(kinds[options.features], options.features, self._layers, content)
        self._network: Any = network.to(device).eval()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 images (B, 3, H, W) -> features (B, D) of FID, logits (B, K) of IS."""
        named = self._network.convert_features_tuple_to_dict(self._network(images))
        return named[self._layers["fid"]], named[self._layers["isc"]]


class _Extractor(Protocol):
    """A class registered with torch-fidelity."""

    def __call__(self, name: str, features_list: list[str], **options: str) -> nn.Module: ...

    def get_default_feature_layer_for_metric(self, metric: str) -> str: ...


def _registered(module: str | None) -> Mapping[str, _Extractor]:
    # torch-fidelity imports torchvision, which on CPU needs the module above first
    import dmgan.model.torchvision_cpu  # noqa: F401, I001
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    if module is not None:
        try:
            importlib.import_module(module)
        except Exception as error:  # somebody's module may raise anything
            raise ConfigError(f"evaluate.features_module={module}: cannot be imported: {error}") from error
    found: Mapping[str, _Extractor] = FEATURE_EXTRACTORS_REGISTRY
    return found


def _layers(name: str, kinds: Mapping[str, _Extractor]) -> dict[str, str]:
    """Which of the extractor's features FID and IS are on. Raises ConfigError where it does not say."""
    try:
        return {metric: str(kinds[name].get_default_feature_layer_for_metric(metric)) for metric in ("fid", "isc")}
    except (KeyError, NotImplementedError) as error:
        raise ConfigError(f"evaluate.features={name}: names no layer for FID and IS ({error!r})") from error


def _with_file(kind: _Extractor, name: str, layers: dict[str, str], content: bytes | None) -> nn.Module:
    """torch-fidelity reads weights from paths only."""
    wanted = list(dict.fromkeys(layers.values()))
    if content is None:
        network: nn.Module = kind(name, wanted)
        return network
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        file.write(content)
        file.flush()
        network = kind(name, wanted, feature_extractor_weights_path=file.name)
    return network


def _inception_state(options: Evaluate) -> tuple[dict[str, Tensor], str]:
    """The weights file's tensors, read without executing anything in it, and its SHA-256. Raises ConfigError."""
    content = storage.read_bytes(str(options.features_weights))
    key = f"evaluate.features_weights={options.features_weights}"
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        classes = len(state["fc.weight"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(f"{key}: damaged or another file; expected {_wanted()}") from error
    if classes != options.features_classes:
        raise ConfigError(f"evaluate.features_classes={options.features_classes}: {key} has {classes} classes")
    return state, hashlib.sha256(content).hexdigest()


def _inception_layers(classes: int) -> dict[str, str]:
    """IS leaves the bias of ImageNet's logits out, as TensorFlow's did; fine-tuned ones have theirs."""
    return {"fid": "2048", "isc": "logits_unbiased" if classes == _INCEPTION_CLASSES else "logits"}


def _inception(state: dict[str, Tensor], options: Evaluate) -> nn.Module:
    """torch-fidelity's Inception-v3 with these weights. Raises ConfigError where they are another network's."""
    import dmgan.model.torchvision_cpu  # noqa: F401, I001
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Inception(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, empty: Any, *more: Any, **named: Any) -> Any:
            self.fc = nn.Linear(2048, options.features_classes)
            return super().load_state_dict(state, *more, **named)

    empty = io.BytesIO()
    torch.save({}, empty)
    try:
        layers = _inception_layers(options.features_classes)
        return _with_file(Inception, "inception-v3-compat", layers, empty.getvalue())
    except RuntimeError as error:
        reason = short_reason(error, 200)
        key = f"evaluate.features_weights={options.features_weights}"
        raise ConfigError(f"{key}: not the weights of Inception-v3: {reason}") from error


@dataclass
class DamsmFeatures:
    """The run's own image code as feature; as classes those of the split, by similarity to their mean sentence.

    `prototypes` (K, N_w). Numbers on it compare runs that share encoders, and nothing else.
    """

    prototypes: Tensor
    gamma3: float

    def __call__(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, N_w) of images -> features (B, N_w), logits (B, K)."""
        return codes, self.gamma3 * F.normalize(codes, dim=1) @ F.normalize(self.prototypes, dim=1).t()
