from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dmgan.model.text_encoder import CaptionLSTM


def packed(rnn: nn.LSTM, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """What torch makes of packed sequences."""
    sequence = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
    states, (last, _) = rnn(sequence)
    words, _ = pad_packed_sequence(states, batch_first=True, total_length=embedded.shape[1])
    return words, last.transpose(0, 1).flatten(1)


@pytest.mark.parametrize("lengths", [[5, 9, 1, 7], [9, 9, 9, 9]])
def test_captions_of_any_length_and_order_are_those_of_packed_sequences(lengths: list[int]) -> None:
    torch.manual_seed(0)
    theirs = nn.LSTM(6, 4, batch_first=True, bidirectional=True).double()
    ours = CaptionLSTM(6, 4).double()
    ours.load_state_dict(theirs.state_dict())  # names and shapes are the same
    embedded = torch.randn(4, 9, 6, dtype=torch.float64)  # padding has features too
    gradients = torch.randn(4, 9, 8, dtype=torch.float64), torch.randn(4, 8, dtype=torch.float64)
    found = []
    for rnn, run in ((theirs, packed), (ours, CaptionLSTM.__call__)):
        given = embedded.clone().requires_grad_()
        states, last = run(rnn, given, torch.tensor(lengths))
        torch.autograd.backward([states, last], gradients)
        found.append([states, last, given.grad, *(p.grad for p in rnn.parameters())])
    for theirs_, ours_ in zip(*found, strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=0, atol=1e-14)


def test_padding_gets_no_gradient_and_no_state() -> None:
    rnn = CaptionLSTM(6, 4)
    embedded = torch.randn(2, 5, 6, requires_grad=True)
    states, last = rnn(embedded, torch.tensor([2, 5]))
    (states.square().sum() + last.sum()).backward()
    assert not states[0, 2:].any() and not embedded.grad[0, 2:].any() and embedded.grad[0, :2].all()
