"""The authors' released checkpoints in our networks, and AttnGAN's generator and encoders.

Every size is read off the tensors' shapes. Loading fills tensors and executes nothing: read files with
`torch.load(…, weights_only=True)`.

    python -m dmgan.reference import --generator netG.pth --text-encoder … --image-encoder … --captions captions.pickle
        --out RUN [--padding-mask interleaved]      a run folder that `generate` and `evaluate` accept
    python -m dmgan.reference export --run RUN --out DIR      a run's networks under the authors' names
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from datasets.errors import UserError
from dmgan.architectures import build_generator
from dmgan.config import Model
from dmgan.model.discriminator import Discriminator
from dmgan.model.generator import Generator
from dmgan.model.image_encoder import ImageEncoder, InceptionTrunk
from dmgan.model.layers import SpectralNormConv2d
from dmgan.model.text_encoder import TextEncoder

__all__ = [
    "StateDictError",
    "export",
    "export_discriminator",
    "load_discriminator",
    "load_generator",
    "load_image_encoder",
    "load_text_encoder",
]

StateDict = Mapping[str, Tensor]
Rules = tuple[tuple[str, str], ...]
M = TypeVar("M", bound=nn.Module)

# Their name (a pattern) and ours; the first rule that fits a name is the one.
GENERATOR: Rules = (
    (r"ca_net\.fc\.", "conditioning.fc."),
    (r"h_net1\.fc\.", "initial.fc."),
    (r"h_net1\.upsample(\d)\.", "initial.upsample.{0-1}."),
    (r"img_net(\d)\.img\.0\.", "to_image.{0-1}.0."),
    (r"h_net(\d)\.(A|B|M_r|M_w)\.", "refinements.{0-2}.write.{1}."),
    (r"h_net(\d)\.att\.conv_context\.", "refinements.{0-2}.write.project."),
    (r"h_net(\d)\.(key|value)\.", "refinements.{0-2}.read.{1}."),
    (r"h_net(\d)\.response_gate\.0\.", "refinements.{0-2}.respond.gate."),
    (r"h_net(\d)\.(residual|upsample)\.", "refinements.{0-2}.{1}."),
)
# Ours and theirs, for writing.
GENERATOR_EXPORT: Rules = (
    (r"conditioning\.fc\.", "ca_net.fc."),
    (r"initial\.fc\.", "h_net1.fc."),
    (r"initial\.upsample\.(\d)\.", "h_net1.upsample{0+1}."),
    (r"to_image\.(\d)\.0\.", "img_net{0+1}.img.0."),
    (r"refinements\.(\d)\.write\.(A|B|M_r|M_w)\.", "h_net{0+2}.{1}."),
    (r"refinements\.(\d)\.write\.project\.", "h_net{0+2}.att.conv_context."),
    (r"refinements\.(\d)\.read\.(key|value)\.", "h_net{0+2}.{1}."),
    (r"refinements\.(\d)\.respond\.gate\.", "h_net{0+2}.response_gate.0."),
    (r"refinements\.(\d)\.(residual|upsample)\.", "h_net{0+2}.{1}."),
)
TEXT_ENCODER_EXPORT: Rules = ((r"embed\.", "encoder."), (r"rnn\.", "rnn."))
IMAGE_ENCODER_EXPORT: Rules = ((r"trunk\.(?:local|top)\.", ""), (r"emb_", "emb_"))
SPECTRAL: Rules = (
    (r"\.module\.weight_bar$", ".weight"),
    (r"\.module\.weight_(u|v)$", ".{0}"),
    (r"\.module\.bias$", ".bias"),
)
TEXT_ENCODER: Rules = ((r"encoder\.", "embed."), (r"rnn\.", "rnn."))


class StateDictError(UserError):
    """A state dict is not the network's it should be; one line with the first tensor that does not fit."""


def load_generator(state_dict: StateDict) -> Generator:
    """DM-GAN's netG (CUB, COCO or any other sizes), or AttnGAN's (attention in place of memory), in evaluation mode."""
    theirs = _bare(state_dict)
    fc, condition = _need(theirs, "h_net1.fc.0.weight", 2), _need(theirs, "ca_net.fc.weight", 2)
    image_dim = _need(theirs, "img_net1.img.0.weight", 4).shape[1]
    base_size = 4 * fc.shape[0] // (32 * image_dim)
    if base_size < 4 or base_size & (base_size - 1) or fc.shape[1] <= condition.shape[0] // 4:
        raise StateDictError(
            f"h_net1.fc.0.weight: has shape {_shape(fc)}, "
            f"expected (32·2^k·{image_dim})×({condition.shape[0] // 4} + noise)"
        )
    refinements = len({m.group(1) for m in (re.match(r"h_net(\d+)\.", k) for k in theirs) if m}) - 1
    blocks = {m.group(1) for m in (re.match(r"h_net2\.residual\.(\d+)\.", k) for k in theirs) if m}
    attention = any(".att." in key for key in theirs)
    memory = _need(theirs, "h_net2.M_w.0.weight", 3) if "h_net2.M_w.0.weight" in theirs else None
    sizes = {
        "architecture": "attngan" if attention else "dm-gan",
        "memory": "m_wg_rg",
        "word_dim": condition.shape[1],
        "image_dim": image_dim,
        "memory_dim": memory.shape[0] if memory is not None else image_dim,
        "condition_dim": condition.shape[0] // 4,
        "noise_dim": fc.shape[1] - condition.shape[0] // 4,
        "base_size": base_size,
        "refinements": refinements,
        "residual_blocks": len(blocks),
    }
    try:
        generator = build_generator(Model.model_validate(sizes))
    except ValidationError as error:
        raise StateDictError(f"not a generator of a size we build: {error.errors()[0]['msg']}") from error
    if attention:  # theirs is a 2d convolution of one column, ours a 1d one
        theirs = {k: v.flatten(2) if k.endswith("att.conv_context.weight") else v for k, v in theirs.items()}
    return _fill(generator, theirs, GENERATOR).eval()


def load_discriminator(state_dict: StateDict) -> Discriminator:
    """DM-GAN's netD0, netD1 or netD2; the image size is that of its number of halvings. In training mode."""
    theirs = _bare(state_dict)
    width = _need(theirs, "img_code_s16.0.module.weight_bar", 4).shape[0]
    joint = _need(theirs, "COND_DNET.jointConv.0.module.weight_bar", 4)
    # Halvings are the 4×4 convolutions of the encoder; the 3×3 ones keep the size.
    halvings = sum(theirs[key].shape[-1] == 4 for key in _encoder_weights(theirs))
    discriminator = Discriminator(4 * 2**halvings, width, joint.shape[1] - joint.shape[0])
    return _fill(discriminator, theirs, discriminator_rules(theirs), SPECTRAL)


def load_text_encoder(state_dict: StateDict) -> TextEncoder:
    """DM-GAN's or AttnGAN's RNN_ENCODER (a bidirectional LSTM), in evaluation mode."""
    theirs = _bare(state_dict)
    words, embedding = _need(theirs, "encoder.weight", 2).shape
    encoder = TextEncoder(words, 2 * _need(theirs, "rnn.weight_hh_l0", 2).shape[1], embedding)
    return _fill(encoder, theirs, TEXT_ENCODER).eval()


def load_image_encoder(state_dict: StateDict) -> ImageEncoder:
    """DM-GAN's or AttnGAN's CNN_ENCODER (Inception-v3 with two linear maps), in evaluation mode."""
    theirs = _bare(state_dict)
    encoder = ImageEncoder(InceptionTrunk(align_corners=True), _need(theirs, "emb_features.weight", 4).shape[0])
    rules = [(r"emb_", "emb_")]
    for part, module in (("local", encoder.trunk.local), ("top", encoder.trunk.top)):
        assert isinstance(module, nn.Module)
        rules += [(re.escape(f"{name}."), f"trunk.{part}.{name}.") for name, _ in module.named_children()]
    return _fill(encoder, theirs, tuple(rules)).eval()


def discriminator_rules(theirs: StateDict) -> Rules:
    """The rules of a discriminator, whose encoder's convolutions are numbered differently at every image size."""
    encoder = (
        (re.escape(key.removesuffix(".module.weight_bar")), f"encode.{2 * i}")
        for i, key in enumerate(_encoder_weights(theirs))
    )
    heads = (
        (r"COND_DNET\.jointConv\.0", "joint.0"),
        (r"COND_DNET\.outlogits\.0", "conditional_logit"),
        (r"UNCOND_DNET\.outlogits\.0", "unconditional_logit"),
    )
    return (*encoder, *heads)


def _encoder_weights(theirs: StateDict) -> list[str]:
    """Names of the encoder's weights in the order of its convolutions."""
    return sorted(key for key in theirs if key.startswith("img_code_") and key.endswith("weight_bar"))


def export_discriminator(discriminator: Discriminator) -> dict[str, Tensor]:
    """The state dict of one of our discriminators under the authors' names.

    Raises StateDictError for images below 64 pixels, for which they have none.
    """
    convolutions = [(i, m) for i, m in enumerate(discriminator.encode) if isinstance(m, SpectralNormConv2d)]
    halvings = sum(m.weight.shape[-1] == 4 for _, m in convolutions)
    if halvings < 4:
        raise StateDictError(f"images of {4 * 2**halvings} pixels: the authors' discriminators start at 64")
    last = 2**halvings  # img_code_s64 brings 256 pixels to 4
    names = [f"img_code_s16.{2 * i}" for i in range(4)]
    names += [f"img_code_s{2 ** (i + 1)}.0" for i in range(4, halvings)]
    names += [f"img_code_s{last}_{i + 1}.0" for i in range(len(convolutions) - halvings)]
    rules = [(rf"encode\.{i}\.", f"{name}.module.") for (i, _), name in zip(convolutions, names, strict=True)]
    rules += [
        (r"joint\.0\.", "COND_DNET.jointConv.0.module."),
        (r"conditional_logit\.", "COND_DNET.outlogits.0."),
        (r"unconditional_logit\.", "UNCOND_DNET.outlogits.0."),
    ]
    written = {}
    for name, value in discriminator.state_dict().items():
        theirs = our_name(
            name,
            tuple(rules),
            ((r"\.module\.weight$", ".module.weight_bar"), (r"\.module\.(u|v)$", ".module.weight_{0}")),
        )
        assert theirs is not None
        written[theirs] = value
    return written


def our_name(theirs: str, rules: Rules, suffixes: Rules = ()) -> str | None:
    """Our name of one of their tensors (or the other way round with rules for writing), None if no rule fits.

    In a rule {i} is the pattern's group i, {i+n} that number plus n.
    """
    for pattern, template in rules:
        match = re.match(pattern, theirs)
        if match:
            name = _expand(template, match.groups()) + theirs[match.end() :]
            for suffix, ours in suffixes:
                found = re.search(suffix, name)
                if found:
                    return name[: found.start()] + _expand(ours, found.groups())
            return name
    return None


def _expand(template: str, groups: Sequence[str]) -> str:
    def value(reference: re.Match[str]) -> str:
        group = groups[int(reference[1])]
        return str(int(group) + int(reference[2])) if reference[2] else group

    return re.sub(r"\{(\d)([+-]\d)?\}", value, template)


def export(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of one of our networks (generator, text or image encoder) under the authors' names.

    Raises StateDictError for a network of which they have none: a compact image encoder, Table 3's ablations.
    """
    if isinstance(module, Generator):
        model = module.options
        if model.architecture not in ("dm-gan", "attngan"):
            raise StateDictError(f"model.architecture={model.architecture}: the authors released no such generator")
        if model.architecture == "dm-gan" and model.memory != "m_wg_rg":
            raise StateDictError(f"model.memory={model.memory}: the authors released no such generator")
    rules = {Generator: GENERATOR_EXPORT, TextEncoder: TEXT_ENCODER_EXPORT, ImageEncoder: IMAGE_ENCODER_EXPORT}
    if type(module) not in rules:
        raise StateDictError(f"{type(module).__name__}: the authors released no such network")
    written: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        theirs = our_name(name, rules[type(module)])
        if theirs is None or (isinstance(module, ImageEncoder) and not isinstance(module.trunk, InceptionTrunk)):
            raise StateDictError(f"{name}: the authors have no network with such a tensor")
        written[theirs] = value[..., None] if theirs.endswith("att.conv_context.weight") else value
    return written


def _fill(module: M, theirs: StateDict, rules: Rules, suffixes: Rules = ()) -> M:
    ours = module.state_dict()
    found: dict[str, Tensor] = {}
    for key, value in theirs.items():
        name = our_name(key, rules, suffixes)
        if name is None or name not in ours:
            raise StateDictError(
                f"{key}: unexpected tensor of shape {_shape(value)}; the network has none of that name"
            )
        if value.shape != ours[name].shape:
            raise StateDictError(f"{key}: has shape {_shape(value)}, expected {_shape(ours[name])}")
        found[name] = value
    for name, value in ours.items():
        # Checkpoints of PyTorch before 0.4.1 do not count batches.
        if name not in found and not name.endswith("num_batches_tracked"):
            raise StateDictError(f"{name}: missing tensor of shape {_shape(value)}")
    module.load_state_dict({**ours, **found})
    return module


def _bare(state_dict: StateDict) -> dict[str, Tensor]:
    """Without the prefix that DataParallel puts before every name."""
    prefixed = bool(state_dict) and all(key.startswith("module.") for key in state_dict)
    return {key.removeprefix("module.") if prefixed else key: torch.as_tensor(v) for key, v in state_dict.items()}


def _need(theirs: Mapping[str, Tensor], key: str, dims: int) -> Tensor:
    if key not in theirs:
        raise StateDictError(f"{key}: missing; is this the state dict of another network?")
    value = theirs[key]
    if value.dim() != dims or 0 in value.shape:
        raise StateDictError(f"{key}: has shape {_shape(value)}, expected {dims} dimensions")
    return value


def _shape(value: Tensor) -> str:
    return "×".join(str(n) for n in value.shape) or "scalar"
