"""Text encoders by name. Each takes the ids of a tokenizer: that of `text`, or one of its own.

`lstm` is the paper's: a bidirectional LSTM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from datasets.registry import Registry
from dmgan.config import Config, ConfigError, Model, Text
from dmgan.model import tokenizers
from dmgan.model.text_encoder import TextEncoder
from dmgan.model.tokenizers import Tokenizer

__all__ = ["TextEncoderKind", "check_text_encoder", "learn_tokenizer", "read_tokenizer", "text_encoders"]


@dataclass(frozen=True)
class TextEncoderKind:
    """A text encoder, and its tokenizer if that is not the one of `text`.

    `build(model, ids, dropout)` gives a module with (ids (B, T) int64 padded with 0, lengths (B,), in training on
    the device) -> word features (B, N_w, T), whose columns past a caption's end are not used, and sentence (B, N_w).
    """

    build: Callable[[Model, int, float], nn.Module]
    tokenizer: Callable[[str], Tokenizer] | None = None  # of the packed dataset at a URL
    read_tokenizer: Callable[[bytes], Tokenizer] | None = None  # what its `to_json` wrote

    def __post_init__(self) -> None:
        if (self.tokenizer is None) != (self.read_tokenizer is None):
            raise ValueError("expected both tokenizer and read_tokenizer, or neither")


text_encoders: Registry[TextEncoderKind] = Registry("text encoder", "model.text_encoder")


def check_text_encoder(config: Config) -> None:
    """Raise UnknownNameError or, for values of `text` that the text encoder would not look at, ConfigError."""
    if text_encoders.get(config.model.text_encoder).tokenizer is None:
        return
    for name, field in Text.model_fields.items():
        if (value := getattr(config.text, name)) != field.default:
            raise ConfigError(
                f"text.{name}={value}: expected its default, {field.default}: model.text_encoder="
                f"{config.model.text_encoder} has a tokenizer of its own"
            )


def learn_tokenizer(config: Config) -> Tokenizer:
    """The text encoder's tokenizer, learnt of the dataset. Raises ConfigError, ManifestError, StorageError."""
    own = text_encoders.get(config.model.text_encoder).tokenizer
    return tokenizers.learn_tokenizer(config.data.url, config.text) if own is None else own(config.data.url)


def read_tokenizer(content: bytes, config: Config) -> Tokenizer:
    """The text encoder's tokenizer from what its `to_json` wrote. Raises ValueError where it is not of `text`."""
    own = text_encoders.get(config.model.text_encoder).read_tokenizer
    return tokenizers.read_tokenizer(content, config.text) if own is None else own(content)


def _lstm(model: Model, ids: int, dropout: float) -> nn.Module:
    return TextEncoder(ids, model.word_dim, model.embedding_dim, dropout)


text_encoders.register("lstm", TextEncoderKind(_lstm))
