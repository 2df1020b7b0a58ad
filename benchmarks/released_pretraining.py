"""One step of DAMSM's pre-training by the released procedure: captions packed, scores caption by caption, one Adam.

Inception's batch normalisation stays as it was trained, as in ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.released_networks import ReleasedImageEncoder
from benchmarks.released_procedure import Batch, Losses, in_both_directions, sentence_scores, word_scores
from dmgan.config import Config
from dmgan.reference import export
from dmgan.training.batch import TrainingBatch
from dmgan.training.damsm import DamsmTraining, one_cycle

__all__ = ["ReleasedPretraining"]


class ReleasedTextEncoder(nn.Module):
    """captions (B, T), lengths (B,), falling -> words (B, N_w, longest), sentence (B, N_w)."""

    def __init__(self, words: int, embedding: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embed, self.dropout = nn.Embedding(words, embedding), nn.Dropout(dropout)
        self.rnn = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=True)

    def forward(self, captions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.dropout(self.embed(captions))
        packed, (last, _) = self.rnn(pack_padded_sequence(embedded, lengths.cpu(), batch_first=True))
        words, _ = pad_packed_sequence(packed, batch_first=True)
        return words.transpose(1, 2), last.transpose(0, 1).flatten(1)


class ReleasedPretraining:
    """Starts from the weights of `ours`, a pre-training that has not begun, on the same device."""

    def __init__(self, config: Config, ours: DamsmTraining, device: torch.device) -> None:
        model, encoders = config.model, ours.encoders.module
        text = encoders.get_submodule("text")
        vocabulary, embedding = text.get_parameter("embed.weight").shape
        self.objective, self.lr, self.steps = config.objective, config.pretrain.lr, ours.steps
        self.text = ReleasedTextEncoder(vocabulary, embedding, model.word_dim // 2, config.pretrain.dropout)
        self.text.load_state_dict(text.state_dict())
        self.image = ReleasedImageEncoder(model)
        self.image.load_state_dict(export(encoders.get_submodule("image")))
        for head in (self.image.emb_features, self.image.emb_cnn_code):
            head.requires_grad_(True)
        self.text.to(device)
        self.image.to(device)
        learning = [p for network in (self.text, self.image) for p in network.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(learning, self.lr, (config.optimizer.beta1, config.optimizer.beta2))

    def step(self, batch: TrainingBatch, number: int) -> Losses:
        """Train on the batch, whose longest caption comes first; returns the losses, detached."""
        for group in self.adam.param_groups:
            group["lr"] = one_cycle(number, self.steps, self.lr)
        self.adam.zero_grad()
        regions, code = self.image(batch.images.float() / 127.5 - 1)
        words, sentence = self.text(batch.ids, batch.lengths)
        none = sentence.new_zeros(0)
        mask = batch.ids[:, : words.shape[2]] == 0
        given = Batch(words, sentence, mask, batch.lengths.tolist(), batch.classes, noise=none, eps=none)
        losses = {
            "words": in_both_directions(word_scores(regions, given, self.objective), given),
            "sentence": in_both_directions(sentence_scores(code, given, self.objective), given),
        }
        (losses["words"] + losses["sentence"]).backward()
        self.adam.step()
        return {name: loss.detach() for name, loss in losses.items()}
