"""The text encoder: a bidirectional LSTM over the caption (Section 3.1), trained by DAMSM [28].

Shapes: B captions, T tokens, E embedding features, N_w word features, H = N_w/2 of each direction.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from dmgan.model.layers import Dropout

__all__ = ["CaptionLSTM", "TextEncoder"]

_CLOSED = -1e4  # of which the sigmoid is 0 in every number format
# cuDNN says so of weights that do not lie in one piece, and puts them together itself at every call.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")


class CaptionLSTM(nn.LSTM):
    """embedded (B, T, E), lengths (B,) on the same device -> states (B, T, 2H), 0 past a caption's end, last (B, 2H).

    As of packed sequences, whose order has to be known to the host, which then waits for the device. Here padding has
    a feature of its own that closes the input gate: coming from the end the state is still 0 where a caption begins.
    From the other side the state at the last token is taken.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__(features, hidden, batch_first=True, bidirectional=True)

    def forward(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        batch, tokens, _ = embedded.shape
        outside = torch.arange(tokens, device=embedded.device) >= lengths[:, None]
        closing = embedded.new_zeros(4, self.hidden_size, 1)  # the gates are input, forget, cell and output
        closing[0].fill_(_CLOSED)
        weights = [getattr(self, name) for name in self._flat_weights_names]
        for of_input in (0, len(weights) // 2):
            weights[of_input] = torch.cat([weights[of_input], closing.flatten(0, 1)], dim=1)
        start = embedded.new_zeros(2, batch, self.hidden_size)
        marked = torch.cat([embedded, outside[..., None].to(embedded.dtype)], dim=2)
        states, *_ = torch._VF.lstm(marked, (start, start), weights, True, 1, 0.0, self.training, True, True)
        forward, backward = states.split(self.hidden_size, dim=2)
        last = forward.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, self.hidden_size))[:, 0]
        return states.masked_fill(outside[..., None], 0), torch.cat([last, backward[:, 0]], dim=1)


class TextEncoder(nn.Module):
    """captions (B, T) int64, 0 = padding; lengths (B,) -> words W (B, N_w, T), sentence s (B, N_w).

    Word features are the forward and backward hidden states side by side (columns past a caption's end are 0); the
    sentence is the last state of each direction. Raises ValueError if `word_dim` is odd.
    """

    def __init__(self, vocabulary_size: int, word_dim: int = 256, embedding_dim: int = 300, dropout: float = 0.5):
        super().__init__()
        if word_dim % 2:
            raise ValueError(f"word_dim must be even (two directions share it), got {word_dim}")
        self.embed = nn.Embedding(vocabulary_size, embedding_dim)
        self.dropout = Dropout(dropout)
        self.rnn = CaptionLSTM(embedding_dim, word_dim // 2)
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)

    def forward(self, captions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        states, sentence = self.rnn(self.dropout(self.embed(captions)), lengths.to(captions.device))
        return states.transpose(1, 2), sentence
