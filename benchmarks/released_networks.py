"""The released networks in plain PyTorch modules, nothing fused: what `benchmarks.training` measures ours against.

Written from the paper and from what docs/paper-and-release.md says of the release. The tensors have the names of the
authors' checkpoints, so that recordings of theirs load, and `dmgan.reference.export` of our networks does.

Shapes: B batch, T words, N_w word features, N_r image features, C condition, S image size, F features of D.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from math import log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmgan.config import Model

__all__ = ["ReleasedDiscriminator", "ReleasedGenerator", "ReleasedImageEncoder"]


class Gate(nn.Module):
    """(B, 2C, *) -> (B, C, *)."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[1] // 2
        return x[:, :half] * torch.sigmoid(x[:, half:])


def convolution(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)


def doubling(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        convolution(channels_in, 2 * channels_out),
        nn.BatchNorm2d(2 * channels_out),
        Gate(),
    )


class Residual(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            convolution(channels, 2 * channels),
            nn.BatchNorm2d(2 * channels),
            Gate(),
            convolution(channels, channels),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + x


class Augmentation(nn.Module):
    """sentence (B, N_w), eps (B, C) -> condition, μ, log σ², each (B, C)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.fc, self.gate = nn.Linear(model.word_dim, 4 * model.condition_dim), Gate()

    def forward(self, sentence: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.gate(self.fc(sentence)).chunk(2, dim=1)
        return mu + eps * (logvar / 2).exp(), mu, logvar


class First(nn.Module):
    """condition (B, C), noise (B, Z) -> (B, N_r, base_size, base_size)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.doublings = int(log2(model.base_size // 4))
        self.channels = model.image_dim * 2**self.doublings
        wide = 32 * self.channels
        self.fc = nn.Sequential(
            nn.Linear(model.condition_dim + model.noise_dim, wide, bias=False), nn.BatchNorm1d(wide), Gate()
        )
        for i in range(self.doublings):
            self.add_module(f"upsample{i + 1}", doubling(self.channels // 2**i, self.channels // 2 ** (i + 1)))

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        x = self.fc(torch.cat([condition, noise], dim=1)).view(-1, self.channels, 4, 4)
        for i in range(self.doublings):
            x = self.get_submodule(f"upsample{i + 1}")(x)
        return x


class Refinement(nn.Module):
    """image (B, N_r, H, W), words (B, N_w, T), mask (B, T) -> (B, N_r, 2H, 2W)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        n = model.image_dim
        self.A, self.B = nn.Linear(model.word_dim, 1, bias=False), nn.Linear(n, 1, bias=False)
        self.M_r = nn.Sequential(nn.Conv1d(n, model.memory_dim, 1), nn.ReLU())
        self.M_w = nn.Sequential(nn.Conv1d(model.word_dim, model.memory_dim, 1), nn.ReLU())
        self.key = nn.Sequential(nn.Conv1d(model.memory_dim, n, 1), nn.ReLU())
        self.value = nn.Sequential(nn.Conv1d(model.memory_dim, n, 1), nn.ReLU())
        self.response_gate = nn.Sequential(nn.Conv2d(2 * n, 1, 1), nn.Sigmoid())
        self.residual = nn.Sequential(*(Residual(2 * n) for _ in range(model.residual_blocks)))
        self.upsample = doubling(2 * n, n)

    def forward(self, image: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        batch, channels, height, width = image.shape
        average = image.mean(dim=(2, 3)).detach()[:, :, None]  # (B, N_r, 1)
        of_words, of_image = self.A(words.transpose(1, 2)), self.B(average.transpose(1, 2))
        writing = torch.sigmoid(of_words + of_image).transpose(1, 2)  # (B, 1, T)
        memory = self.M_w(words) * writing + self.M_r(average) * (1 - writing)
        pixels = image.flatten(2).transpose(1, 2)  # (B, H·W, N_r)
        similarity = torch.bmm(pixels, self.key(memory)).flatten(0, 1)
        # The mask is repeated whole over the pixels, which are ordered image by image.
        rows = mask.repeat(height * width, 1)
        weights = similarity.masked_fill(rows, float("-inf")).softmax(dim=1).view(batch, height * width, -1)
        recalled = torch.bmm(self.value(memory), weights.transpose(1, 2)).view(batch, channels, height, width)
        gate = self.response_gate(torch.cat([image, recalled], dim=1))
        fused = image * (1 - gate) + recalled * gate
        return self.upsample(self.residual(torch.cat([fused, fused], dim=1)))


class ReleasedGenerator(nn.Module):
    """noise (B, Z), sentence (B, N_w), words (B, N_w, T), mask (B, T), eps (B, C) -> images a stage, μ, log σ²."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.stages = model.refinements + 1
        self.ca_net = Augmentation(model)
        self.h_net1 = First(model)
        for i in range(2, self.stages + 1):
            self.add_module(f"h_net{i}", Refinement(model))
        for i in range(1, self.stages + 1):
            to_image = nn.Sequential(convolution(model.image_dim, 3), nn.Tanh())
            self.add_module(f"img_net{i}", nn.Sequential(OrderedDict(img=to_image)))

    def forward(
        self, noise: Tensor, sentence: Tensor, words: Tensor, mask: Tensor, eps: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        condition, mu, logvar = self.ca_net(sentence, eps)
        image = self.h_net1(condition, noise)
        images = [self.get_submodule("img_net1")(image)]
        for i in range(2, self.stages + 1):
            image = self.get_submodule(f"h_net{i}")(image, words, mask)
            images.append(self.get_submodule(f"img_net{i}")(image))
        return images, mu, logvar


class Spectral(nn.Module):
    """A convolution over its largest singular value, after one power iteration at every forward."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        plain = nn.Conv2d(channels_in, channels_out, kernel)
        self.stride, self.padding = stride, padding
        self.module = nn.Module()
        self.module.register_parameter("weight_bar", nn.Parameter(plain.weight.detach()))
        self.module.register_parameter("bias", nn.Parameter(torch.zeros(channels_out)))
        for name, size in (("weight_u", channels_out), ("weight_v", channels_in * kernel**2)):
            vector = F.normalize(torch.randn(size), dim=0)
            self.module.register_parameter(name, nn.Parameter(vector, requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        kept = dict(self.module.named_parameters())
        matrix = kept["weight_bar"].flatten(1)
        with torch.no_grad():
            v = matrix.t() @ kept["weight_u"]
            kept["weight_v"].copy_(v / (v.norm() + 1e-12))
            u = matrix @ kept["weight_v"]
            kept["weight_u"].copy_(u / (u.norm() + 1e-12))
        sigma = kept["weight_u"].clone() @ (matrix @ kept["weight_v"].clone())
        return F.conv2d(x, kept["weight_bar"] / sigma, kept["bias"], self.stride, self.padding)


class Head(nn.Module):
    """features (B, F, 4, 4), sentence (B, N_w) if `word_dim` -> probabilities (B,)."""

    def __init__(self, channels: int, word_dim: int = 0) -> None:
        super().__init__()
        if word_dim:
            self.jointConv = nn.Sequential(Spectral(channels + word_dim, channels, 3, 1, 1), nn.LeakyReLU(0.2))
        self.outlogits = nn.Sequential(nn.Conv2d(channels, 1, 4, 4), nn.Sigmoid())

    def forward(self, features: Tensor, sentence: Tensor | None = None) -> Tensor:
        if sentence is not None:
            everywhere = sentence[:, :, None, None].repeat(1, 1, 4, 4)
            features = self.jointConv(torch.cat([features, everywhere], dim=1))
        return self.outlogits(features).flatten()


class ReleasedDiscriminator(nn.Module):
    """images (B, 3, S, S) of at least 64 pixels -> features (B, F, 4, 4); `COND_DNET`, `UNCOND_DNET` judge them."""

    def __init__(self, size: int, model: Model) -> None:
        super().__init__()
        width, halvings = model.discriminator_width, int(log2(size // 4))
        channels = [3, *(width * 2**i for i in range(halvings))]
        halving = [Spectral(a, b, 4, 2, 1) for a, b in pairwise(channels)]
        first = [layer for each in halving[:4] for layer in (each, nn.LeakyReLU(0.2, inplace=True))]
        self.img_code_s16 = nn.Sequential(*first)
        for i, each in enumerate(halving[4:], start=5):
            self.add_module(f"img_code_s{2**i}", nn.Sequential(each, nn.LeakyReLU(0.2, inplace=True)))
        wide, number = channels[-1], 1
        while wide > 8 * width:
            layer = nn.Sequential(Spectral(wide, wide // 2, 3, 1, 1), nn.LeakyReLU(0.2, inplace=True))
            self.add_module(f"img_code_s{2**halvings}_{number}", layer)
            wide, number = wide // 2, number + 1
        self.UNCOND_DNET, self.COND_DNET = Head(wide), Head(wide, model.word_dim)

    def forward(self, images: Tensor) -> Tensor:
        for name, part in self.named_children():
            if name.startswith("img_code"):
                images = part(images)
        return images


class ReleasedImageEncoder(nn.Module):
    """images (B, 3, S, S) in [-1, 1] -> regions (B, N_w, 17, 17), code (B, N_w): torchvision's Inception-v3, frozen."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        from dmgan.model.torchvision_cpu import torchvision

        network = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=True)
        for name, part in network.named_children():
            if name not in ("AuxLogits", "avgpool", "dropout", "fc"):
                self.add_module(name, part)
        self.emb_features = nn.Conv2d(768, model.word_dim, 1, bias=False)
        self.emb_cnn_code = nn.Linear(2048, model.word_dim)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = F.interpolate(images, size=(299, 299), mode="bilinear", align_corners=True)
        regions = x
        for name, part in self.named_children():
            if not name.startswith("emb_"):
                x = part(x)
            if name == "Mixed_6e":
                regions = x
        return self.emb_features(regions), self.emb_cnn_code(F.avg_pool2d(x, kernel_size=8).flatten(1))
