"""How far our numbers are from the authors' model: python -m tests.dmgan.released.reference_errors

tests/data/reference.safetensors holds inputs, weights and outputs recorded from the authors' modules, at small sizes,
on today's PyTorch; maps of 64 pixels and more are sampled at every eighth. The error of a tensor is
‖ours − theirs‖/‖theirs‖; of a quantity, the largest over its tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from dmgan.config import Objective
from dmgan.model.generator import Generator, GeneratorOutput
from dmgan.released.names import (
    GENERATOR,
    SPECTRAL,
    discriminator_rules,
    load_discriminator,
    load_generator,
    load_text_encoder,
    our_name,
)
from dmgan.training.matching import matching_loss, sentence_scores, word_region_attention, word_scores
from dmgan.training.objectives import conditioning_loss, discriminator_loss, generator_loss
from dmgan.training.outcome import Text, matching_losses

DATA = Path(__file__).parents[2] / "data" / "reference.safetensors"
Pair = tuple[str, str, Tensor, Tensor]  # quantity, tensor, ours, theirs


@cache
def recorded() -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in safetensors.torch.load_file(DATA).items():
        group, name = key.split("/", 1)
        groups.setdefault(group, {})[name] = value
    return groups


def sampled(x: Tensor) -> Tensor:
    return x[..., ::8, ::8] if x.dim() == 4 and x.shape[-1] >= 64 else x


def generator(mode: str, mask: str) -> Generator:
    network = load_generator(recorded()["sd_netG"]).train(mode == "train")
    network.interleaved_mask = mask == "interleaved"
    return network


def run(network: Generator) -> GeneratorOutput:
    given, text = recorded()["inputs"], recorded()["text_out"]
    out: GeneratorOutput = network(given["noise"], text["sent_emb"], text["words_emb"], text["mask"], given["eps"])
    return out


def text_encoder() -> Iterator[Pair]:
    data = recorded()
    encoder = load_text_encoder(data["sd_text_encoder"])
    lengths, theirs = data["inputs"]["cap_lens"], data["text_out"]
    captions = data["inputs"]["captions"][:, : int(lengths.max())]
    words, sentence = encoder(captions, lengths)
    yield "word features", "words", words, theirs["words_emb"]
    yield "sentence feature", "sentence", sentence, theirs["sent_emb"]
    yield "padding mask", "mask", (captions == 0).float(), theirs["mask"].float()


def images() -> Iterator[Pair]:
    data = recorded()
    for mode in ("eval", "train"):
        for mask, suffix in (("interleaved", ""), ("aligned", "_aligned")):
            theirs = data[f"g_{mode}{suffix}"]
            with torch.no_grad():
                out = run(generator(mode, mask))
            where = f"{mode}, {mask} mask"
            for name, ours in (("mu", out.mu), ("logvar", out.logvar)):
                yield name, where, ours, theirs[name]
            for size, image in zip((64, 128, 256), out.images, strict=True):
                full = theirs[f"fake{size}"].shape[-1] == size
                yield f"images ({mode})", f"{size}, {where}", image if full else sampled(image), theirs[f"fake{size}"]
            for i in (1, 2):
                yield "attention", f"{i}, {where}", sampled(out.attention[i - 1]), theirs[f"att{i}"]
                yield "writing gate", f"{i}, {where}", out.writing_gates[i - 1], theirs[f"writing_gate{i}"]
                yield "response gate", f"{i}, {where}", sampled(out.response_gates[i - 1]), theirs[f"response_gate{i}"]


def watched(network: Generator) -> dict[str, Any]:
    """What the parts of the refinements give, filled by the next forward."""
    seen: dict[str, Any] = {}
    for i, stage in enumerate(network.refinements, start=1):
        for name, module in (("memory", stage.write), ("key", stage.read.key), ("value", stage.read.value)):
            module.register_forward_hook(lambda m, x, y, k=f"{name}{i}": seen.__setitem__(k, y))
        stage.read.register_forward_hook(lambda m, x, y, k=f"memory_out{i}": seen.__setitem__(k, y[0]))
        stage.respond.register_forward_hook(lambda m, x, y, k=f"h_fused{i}": seen.__setitem__(k, y[0]))
        stage.register_forward_pre_hook(lambda m, x, k=f"h_in{i}": seen.__setitem__(k, x[0]))
    return seen


def memory() -> Iterator[Pair]:
    """The steps inside a refinement, recorded with the interleaved mask."""
    for mode in ("eval", "train"):
        network = generator(mode, "interleaved")
        seen = watched(network)
        with torch.no_grad():
            run(network)
        for name, theirs in recorded()[f"g_{mode}_mid"].items():
            ours = seen[name][0] if isinstance(seen[name], tuple) else seen[name]
            yield "memory, keys, values, readings, responses", f"{name} ({mode})", sampled(ours), theirs


def batch_norm() -> Iterator[Pair]:
    network = generator("train", "interleaved")
    with torch.no_grad():
        run(network)
    state = network.state_dict()
    for key, theirs in recorded()["g_train_bn_after"].items():
        name = our_name(key, GENERATOR)
        assert name is not None
        yield "BatchNorm statistics after a step", key, state[name].float(), theirs.float()


def discriminators() -> Iterator[Pair]:
    data = recorded()
    sentence = data["text_out"]["sent_emb"]
    for i, size in enumerate((64, 128, 256)):
        theirs, state = data[f"d{i}"], data[f"sd_netD{i}"]
        real = F.avg_pool2d(data["inputs"]["real256"], 256 // size) if size < 256 else data["inputs"]["real256"]
        fake = data["g_train"][f"fake{size}"]
        for kind, given in (("real", real), ("fake", fake)):
            network = load_discriminator(state).train()
            features = network(given)
            yield "discriminator features", f"D{i} {kind}", features, theirs[f"first.{kind}.features"]
            for head, logits in (
                ("cond", network.conditional(features, sentence)),
                ("uncond", network.unconditional(features)),
            ):
                yield (
                    "discriminator probabilities",
                    f"D{i} {kind} {head}",
                    logits.sigmoid(),
                    theirs[f"first.{kind}.{head}"],
                )
        network = load_discriminator(state).train()
        features_real, features_fake = network(real), network(fake)
        logits = {
            "cond_real": network.conditional(features_real, sentence),
            "cond_fake": network.conditional(features_fake, sentence),
            "cond_wrong": network.conditional(features_real[:-1], sentence[1:]),
            "uncond_real": network.unconditional(features_real),
            "uncond_fake": network.unconditional(features_fake),
        }
        for name, value in logits.items():
            yield "discriminator probabilities", f"D{i} {name}", value.sigmoid(), theirs[f"seq.{name}"]
        loss = discriminator_loss(
            *(logits[k] for k in ("uncond_real", "cond_real", "uncond_fake", "cond_fake", "cond_wrong"))
        )
        yield "discriminator loss", f"D{i}", loss, theirs["errD"]
        loss.backward()
        rules, parameters, buffers = (
            discriminator_rules(state),
            dict(network.named_parameters()),
            dict(network.named_buffers()),
        )
        for key, value in theirs.items():
            if key.startswith("uv_after."):
                yield "spectral norm's u and v", f"D{i} {key}", buffers[_ours(key[9:], rules)], value
        for key, value in data[f"grad_netD{i}"].items():
            grad = parameters[_ours(key, rules)].grad
            assert grad is not None
            yield "discriminator gradients", f"D{i} {key}", grad, value


def _ours(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    name = our_name(key, rules, SPECTRAL)
    assert name is not None
    return name


def generator_objective() -> Iterator[Pair]:
    data = recorded()
    theirs, sentence = data["adv"], data["text_out"]["sent_emb"]
    network = generator("train", "interleaved")
    out = run(network)
    total = torch.zeros(())
    for i, image in enumerate(out.images):
        judge = load_discriminator(data[f"sd_netD{i}"]).train().requires_grad_(False)
        features = judge(image)
        conditional, unconditional = judge.conditional(features, sentence), judge.unconditional(features)
        yield "generator's probabilities", f"D{i} cond", conditional.sigmoid(), theirs[f"cond{i}"]
        yield "generator's probabilities", f"D{i} uncond", unconditional.sigmoid(), theirs[f"uncond{i}"]
        loss = generator_loss(unconditional, conditional, weight=1.0)
        yield "generator loss", f"stage {i}", loss, theirs[f"g_loss{i}"]
        total = total + loss
    divergence = conditioning_loss(out.mu, out.logvar)
    yield "generator loss", "all stages", total, theirs["adv_total"]
    yield "conditioning loss", "mean", divergence, theirs["kl_loss"]
    (total + divergence).backward()
    parameters = dict(network.named_parameters())
    for key, value in data["grad_netG"].items():
        name = our_name(key, GENERATOR)
        assert name is not None
        grad = parameters[name].grad
        assert grad is not None
        cancelling = key.endswith("block.4.bias")
        quantity = "generator gradients, biases that a BatchNorm follows" if cancelling else "generator gradients"
        yield quantity, key, grad, value


def damsm() -> Iterator[Pair]:
    data = recorded()
    given, text, theirs = data["inputs"], data["text_out"], data["damsm"]
    for kind, classes in (("cls", given["class_ids"]), ("nocls", None)):
        leaves = [given["region"].flatten(2), text["words_emb"], given["cnn_code"], text["sent_emb"]]
        regions, words, code, sentence = (leaf.clone().requires_grad_() for leaf in leaves)
        scores = word_scores(regions, words, text["mask"], 4.0, 5.0), sentence_scores(code, sentence)
        losses = [loss for each in scores for loss in matching_loss(10.0 * each, classes)]
        for name, loss in zip(("w_loss0", "w_loss1", "s_loss0", "s_loss1"), losses, strict=True):
            yield "DAMSM losses", f"{kind} {name}", loss, theirs[f"{kind}.{name}"]
        given_text = Text(words, sentence, text["mask"], torch.arange(len(code)) if classes is None else classes)
        sums = matching_losses(regions, code, given_text, Objective())
        for name, loss in zip("ws", sums, strict=True):
            expected = theirs[f"{kind}.{name}_loss0"] + theirs[f"{kind}.{name}_loss1"]
            yield "DAMSM losses", f"{kind} {name} both directions", loss, expected
        torch.stack(sums).sum().backward()
        named = {"region": regions, "words_emb": words, "cnn_code": code, "sent_emb": sentence}
        for name, leaf in named.items():
            assert leaf.grad is not None
            value = theirs[f"{kind}.grad_{name}"]
            yield "DAMSM gradients", f"{kind} {name}", leaf.grad.reshape(value.shape), value
        attention = word_region_attention(regions, words, text["mask"], 4.0)
        for i in range(3):
            value = theirs[f"{kind}.att_map{i}"]
            yield "DAMSM attention", f"{kind} {i}", attention[i, i, : len(value)].reshape(value.shape), value


def errors() -> dict[str, tuple[float, str]]:
    """The largest error of every quantity and the tensor it is of."""
    worst: dict[str, tuple[float, str]] = {}
    for part in (text_encoder, images, memory, batch_norm, discriminators, generator_objective, damsm):
        for quantity, tensor, ours, theirs in part():
            assert ours.shape == theirs.shape, (quantity, tensor, ours.shape, theirs.shape)
            error = float((ours.detach() - theirs).norm() / theirs.norm().clamp_min(1e-30))
            if quantity not in worst or not error <= worst[quantity][0]:
                worst[quantity] = (error, tensor)
    return worst


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("| quantity | largest relative error | of |\n|---|---|---|")
    for quantity, (error, tensor) in errors().items():
        print(f"| {quantity} | {error:.1e} | {tensor} |")
