"""Each exact rewriting against the plain operations it stands for, in double precision: values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmgan.model.convolutions import UpsamplingConv2d, WideConv2d
from dmgan.model.folding import fold_batch_norms, keep_folded
from dmgan.model.image_encoder import InceptionTrunk
from dmgan.model.layers import GatedBatchNorm, ResidualBlock, SpectralNormConv2d, Upsample
from dmgan.model.memory import GatedMemoryWriting, GatedResponse
from dmgan.model.torchvision_cpu import torchvision

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def image(channels: int, height: int, width: int, memory_format: torch.memory_format = FORMATS[0]) -> Tensor:
    x = torch.randn(3, channels, height, width, dtype=torch.float64).contiguous(memory_format=memory_format)
    return x.requires_grad_()


def same(ours: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor], x: Tensor, module: nn.Module) -> None:
    """Equal values, and equal gradients of x and of the module's parameters, to 1e-12 of the largest."""

    def results(function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        y = function(x)
        weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
        return [y.detach(), *torch.autograd.grad((y * weights).sum(), [x, *module.parameters()])]

    for a, b in zip(results(ours), results(plain), strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= 1e-12 * float(b.abs().max())


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("height", "width"), [(4, 4), (16, 16), (17, 24)])
@pytest.mark.parametrize("given", [6, 3])
def test_upsampling_and_convolution_are_one_transposed_convolution(
    height: int, width: int, given: int, memory_format: torch.memory_format
) -> None:
    convolution = UpsamplingConv2d(6, 5).double()

    def plain(x: Tensor) -> Tensor:
        whole = x if given == 6 else torch.cat([x, x], dim=1)
        return F.conv2d(F.interpolate(whole, scale_factor=2, mode="nearest"), convolution.weight, padding=1)

    same(convolution, plain, image(given, height, width, memory_format), convolution)
    assert {k: v.shape for k, v in convolution.state_dict().items()} == {"weight": (5, 6, 3, 3)}


def test_a_feature_beside_itself_takes_the_sum_of_the_weights_halves() -> None:
    convolution = WideConv2d(8, 5).double()
    same(
        convolution,
        lambda x: F.conv2d(torch.cat([x, x], dim=1), convolution.weight, padding=1),
        image(4, 6, 7),
        convolution,
    )


@pytest.mark.parametrize("memory_format", FORMATS)
def test_normalisation_and_gate_are_torchs(memory_format: torch.memory_format) -> None:
    ours, norm = GatedBatchNorm(8).double(), nn.BatchNorm2d(8).double()
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    norm.load_state_dict(ours.state_dict())

    def plain(x: Tensor) -> Tensor:
        y = F.batch_norm(x, None, None, ours.weight, ours.bias, training=True)
        return F.glu(y, dim=1)

    x = image(8, 5, 6, memory_format)
    same(ours, plain, x, ours)
    norm(x)
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.eval()(x), F.glu(norm.eval()(x), dim=1), rtol=1e-12, atol=1e-12)


def test_normalisation_and_gate_of_vectors_are_torchs() -> None:
    ours = GatedBatchNorm(8).double()

    def plain(x: Tensor) -> Tensor:
        return F.glu(F.batch_norm(x, None, None, ours.weight, ours.bias, training=True), dim=1)

    same(ours, plain, torch.randn(6, 8, dtype=torch.float64, requires_grad=True), ours)


def test_a_residual_block_of_a_feature_beside_itself() -> None:
    block = ResidualBlock(8).double()
    same(block, lambda x: block(torch.cat([x, x], dim=1)), image(4, 5, 5), block)
    names = {"0.weight", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias"}
    assert {f"block.{name}" for name in names} == {name for name, _ in block.named_parameters()}


def test_a_residual_block_is_the_sum_of_its_input_and_its_branch() -> None:
    block = ResidualBlock(6).double()
    for given in (6, 3):

        def plain(x: Tensor, given: int = given) -> Tensor:
            whole = x if given == 6 else torch.cat([x, x], dim=1)
            return whole + block.block(whole)

        same(block, plain, image(given, 5, 4), block)


def test_gates_are_eq_8_and_9() -> None:
    writing, response = GatedMemoryWriting(4, 3, 5).double(), GatedResponse(3).double()
    words, pixels, other = (torch.randn(2, *shape, dtype=torch.float64) for shape in ((4, 6), (3, 5, 5), (3, 5, 5)))

    def written(words: Tensor) -> Tensor:
        memory, gate = writing(words, pixels)
        return torch.cat([memory, gate], dim=1)

    def eq_8(words: Tensor) -> Tensor:
        average = pixels.mean((2, 3))
        gate = torch.sigmoid(writing.A(words.transpose(1, 2)) + writing.B(average)[:, None]).transpose(1, 2)
        of_image = writing.M_r(average[:, :, None])
        return torch.cat([writing.M_w(words) * gate + of_image * (1 - gate), gate], dim=1)

    same(written, eq_8, words.requires_grad_(), writing)

    def eq_9(memory: Tensor) -> Tensor:
        gate = torch.sigmoid(response.gate(torch.cat([pixels, memory], dim=1)))
        return memory * gate + pixels * (1 - gate)

    same(lambda memory: response(memory, pixels)[0], eq_9, other.requires_grad_(), response)


def test_upsamplings_weights_keep_their_names() -> None:
    names = {"1.weight", "2.weight", "2.bias"}
    moments = {"2.running_mean", "2.running_var", "2.num_batches_tracked"}
    assert {name for name, _ in Upsample(4, 2).named_parameters()} == names
    assert Upsample(4, 2).state_dict().keys() == names | moments


@pytest.mark.parametrize("channels", [4, 80], ids=["few weights", "more weights than values"])
def test_spectral_norm_is_the_weight_over_the_vectors_sigma(channels: int) -> None:
    convolution = SpectralNormConv2d(3, channels, 3, 1, 1).double()
    start = {name: value.clone() for name, value in convolution.named_buffers()}

    def ours(x: Tensor) -> Tensor:
        convolution.load_state_dict({**convolution.state_dict(), **start})
        return convolution(x)

    def unit(x: Tensor) -> Tensor:
        return x / (x.norm() + 1e-12)

    def plain(x: Tensor) -> Tensor:
        matrix = convolution.weight.flatten(1)
        v = unit(matrix.detach().t() @ start["u"])
        u = unit(matrix.detach() @ v)
        torch.testing.assert_close((convolution.u, convolution.v), (u, v), rtol=1e-11, atol=1e-11)
        return F.conv2d(x, convolution.weight / (u @ matrix @ v), convolution.bias, padding=1)

    same(ours, plain, image(3, 6, 6), convolution)


def spread(network: nn.Module) -> nn.Module:
    """Weights and statistics whose features differ from image to image: torch's own give nearly equal ones."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (part.bias, part.running_mean):
                assert tensor is not None
                nn.init.normal_(tensor, std=0.1)
    return network.double().eval().requires_grad_(False)


def test_inception_with_folded_normalisation_is_inception() -> None:
    plain = spread(torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=True))
    trunk = InceptionTrunk(plain.state_dict()).double()  # type: ignore[arg-type]
    x = (torch.rand(2, 3, 80, 80, dtype=torch.float64) * 2 - 1).requires_grad_()

    def regions_and_pooled(x: Tensor) -> Tensor:
        given = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
        features, pooled = _through(plain, given)
        return torch.cat([features.flatten(), pooled.flatten()])

    def folded(x: Tensor) -> Tensor:
        return torch.cat([each.flatten() for each in trunk(x)])

    same(folded, regions_and_pooled, x, nn.Identity())
    names = trunk.state_dict().keys()
    keep_folded(trunk)
    assert trunk.state_dict().keys() == names
    same(folded, regions_and_pooled, x, nn.Identity())


def _through(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    features = x
    for name, part in network.named_children():
        if name not in ("AuxLogits", "avgpool", "dropout", "fc"):
            x = part(x)
        if name == "Mixed_6e":
            features = x
    return features, x.mean(dim=(2, 3))


def test_weights_that_are_loaded_later_replace_those_kept_folded() -> None:
    plain, other = (
        nn.Sequential(spread(torchvision.models.inception.BasicConv2d(3, 4, kernel_size=3))) for _ in range(2)
    )
    state = {name: value.clone() for name, value in other.state_dict().items()}
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    expected = other(x)
    fold_batch_norms(plain)
    keep_folded(plain)
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(x), expected, rtol=1e-12, atol=1e-12)
