"""The text encoder: a bidirectional LSTM over the caption (Section 3.1), trained by DAMSM [28]."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dmgan.model.layers import Dropout

__all__ = ["TextEncoder"]


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
        self.rnn = nn.LSTM(embedding_dim, word_dim // 2, batch_first=True, bidirectional=True)
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)

    def forward(self, captions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.dropout(self.embed(captions))
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, (last, _) = self.rnn(packed)
        words, _ = pad_packed_sequence(states, batch_first=True, total_length=captions.shape[1])
        return words.transpose(1, 2), last.transpose(0, 1).flatten(1)
