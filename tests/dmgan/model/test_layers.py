from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dmgan.model.layers import BatchNorm, ResidualBlock, SpectralNormConv2d, Upsample


@pytest.mark.parametrize("shape", [(6, 5, 4, 4), (16, 5)])
def test_batch_norm_is_torchs(shape: tuple[int, ...]) -> None:
    ours = BatchNorm(5)
    theirs = nn.BatchNorm2d(5) if len(shape) == 4 else nn.BatchNorm1d(5)
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    for _ in range(3):
        x = (torch.randn(shape) * 3 + 2).requires_grad_()
        y = x.detach().clone().requires_grad_()
        grad = torch.randn(shape)
        ours(x).backward(grad)
        theirs(y).backward(grad)
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x))


def test_batch_norm_gradient_in_double_precision() -> None:
    norm = BatchNorm(3).double()
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,), atol=1e-4)


def test_spectral_norm_reaches_the_largest_singular_value() -> None:
    convolution = SpectralNormConv2d(4, 6, 3, 1, 1)
    x = torch.randn(2, 4, 5, 5)
    for _ in range(200):
        convolution(x)
    sigma = torch.linalg.matrix_norm(convolution.weight.detach().flatten(1), ord=2)
    expected = F.conv2d(x, convolution.weight / sigma, convolution.bias, padding=1)
    torch.testing.assert_close(convolution(x), expected, rtol=1e-4, atol=1e-5)


def test_spectral_norm_moves_its_vectors_in_training_only() -> None:
    convolution = SpectralNormConv2d(3, 4, 4, 2, 1)
    before = convolution.u.clone()
    convolution.eval()(torch.randn(1, 3, 8, 8))
    assert torch.equal(convolution.u, before)
    convolution.train()(torch.randn(1, 3, 8, 8))
    assert not torch.equal(convolution.u, before)


def test_two_forwards_before_one_backward_keep_their_own_vectors() -> None:
    torch.manual_seed(0)
    convolution = SpectralNormConv2d(3, 4, 3, 1, 1)
    x, y = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    start = {k: v.clone() for k, v in convolution.state_dict().items()}
    (convolution(x).sum() + convolution(y).square().sum()).backward()
    together = convolution.weight.grad.clone()
    convolution.load_state_dict(start)
    convolution.zero_grad()
    convolution(x).sum().backward()
    convolution(y).square().sum().backward()
    torch.testing.assert_close(convolution.weight.grad, together)


def test_shapes() -> None:
    x = torch.randn(2, 8, 4, 4)
    assert Upsample(8, 3)(x).shape == (2, 3, 8, 8)
    assert ResidualBlock(8)(x).shape == x.shape


def test_parameters_are_counted_on_the_meta_device_without_torchs_compiler() -> None:
    """Its import takes two seconds of every start of a job."""
    code = (
        "import sys, torch\n"
        "from dmgan.architectures import build_gan_discriminators, build_generator\n"
        "from dmgan.config import load_config\n"
        "for architecture in ('dm-gan', 'attngan', 'stackgan'):\n"
        "    model = load_config(None, [f'model.architecture={architecture}']).model\n"
        "    with torch.device('meta'):\n"
        "        build_generator(model), build_gan_discriminators(model)\n"
        "assert 'torch._dynamo' not in sys.modules and 'sympy' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
