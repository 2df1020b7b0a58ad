"""tokenizer.json: a run's tokenizer as Hugging Face's `tokenizers` loads it, which gives the same ids.

Our tokenizers leave out what they do not know. Of the library's models byte-pair encoding alone does so, so all of them
become one: `words` without merges, each word a token that begins with ▁, which no character of an unknown word is.
Ids are ours, 0 is padding; captions come cut and padded to T tokens.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from functools import cache
from typing import TypedDict

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from datasets.vocabulary import Vocabulary
from dmgan.config import Config, ConfigError
from dmgan.drawing.text_to_image import TextToImage
from dmgan.model.text_encoders import text_encoders

__all__ = ["exported_tokenizer"]

_PADDING = "<pad>"
_BEGINS = "▁"
_IDEOGRAPH = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"


def exported_tokenizer(model: TextToImage) -> tokenizers.Tokenizer:
    """The model's tokenizer. Raises ConfigError for one of a text encoder of somebody else's."""
    _check(model.config)
    tokenizer = model.tokenizer
    fast = _of_words(tokenizer) if isinstance(tokenizer, Vocabulary) else _of_pieces(json.loads(tokenizer.to_json()))
    fast.enable_truncation(model.max_words)
    fast.enable_padding(pad_id=0, pad_token=_PADDING, length=model.max_words)
    return fast


def _check(config: Config) -> None:
    name = config.model.text_encoder
    if text_encoders.get(name).tokenizer is not None:
        raise ConfigError(f"model.text_encoder={name}: has a tokenizer of its own, which cannot be exported")


def _of_words(vocabulary: Vocabulary) -> tokenizers.Tokenizer:
    numbers = {_PADDING: 0} | {_BEGINS + word: i for i, word in enumerate(vocabulary.words) if i}
    fast = tokenizers.Tokenizer(models.BPE(vocab=numbers, merges=[], ignore_merges=True))
    ideographs = [] if vocabulary.released else [pre_tokenizers.Split(Regex(_IDEOGRAPH), "isolated")]
    marked = pre_tokenizers.Metaspace(_BEGINS, prepend_scheme="always")
    fast.normalizer = normalizers.Sequence(_released_normalizers() if vocabulary.released else _word_normalizers())
    fast.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), *ideographs, marked])
    fast.decoder = decoders.Metaspace(_BEGINS)
    return fast


class _Saved(TypedDict):
    """What `to_json` of bpe and characters writes."""

    tokenizer: str
    tokens: list[str]
    merges: list[list[str]]


def _of_pieces(saved: _Saved) -> tokenizers.Tokenizer:
    numbers = {_PADDING: 0} | {token: i for i, token in enumerate(saved["tokens"], start=1)}
    fast = tokenizers.Tokenizer(models.BPE(vocab=numbers, merges=[(pair[0], pair[1]) for pair in saved["merges"]]))
    between = Regex(r"(?:[^\P{P}_]|[\p{Z}\p{Cc}])+")
    cleaned = [normalizers.Replace(Regex(r"\p{Cf}"), ""), normalizers.Replace(between, " "), normalizers.Strip()]
    fast.normalizer = normalizers.Sequence([*_folding(), *cleaned])
    if saved["tokenizer"] == "bpe":
        bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
        fast.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), bytes_of])
        fast.decoder = decoders.ByteLevel()
    return fast


def _word_normalizers() -> list[normalizers.Normalizer]:
    """As `datasets.vocabulary.tokenize`."""
    kept = Regex(r"[^\p{L}\p{M}\p{N}_]+")
    return [*_folding(), normalizers.Replace(Regex(r"\p{Cf}"), ""), normalizers.Replace(kept, " ")]


def _released_normalizers() -> list[normalizers.Normalizer]:
    """As `datasets.vocabulary.tokenize_released`."""
    return [
        normalizers.Replace("\ufffd", " "),
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"[^\p{L}\p{N}_]+"), " "),
        normalizers.Replace(Regex(r"[^\x00-\x7f]"), ""),
    ]


def _folding() -> list[normalizers.Normalizer]:
    """As `datasets.vocabulary.fold`: NFKC, case folded, NFKC. The library has lower case only; the rest is replaced."""
    newer = [normalizers.Replace(*pair) for pair in _newer_characters()]
    folded = [normalizers.Replace(*pair) for pair in _differently_folded()]
    return [*newer, normalizers.NFKC(), normalizers.Lowercase(), *folded, normalizers.NFKC()]


@cache
def _newer_characters() -> tuple[tuple[str, str], ...]:
    """Characters and what NFKC makes of them, where the library's tables are older than Python's."""
    theirs, found = normalizers.NFKC(), []
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) not in ("Cs", "Cn", "Co"):
            ours = unicodedata.normalize("NFKC", character)
            if ours != character and theirs.normalize_str(character) != ours:
                found.append((character, ours))
    return tuple(found)


@cache
def _differently_folded() -> tuple[tuple[str, str], ...]:
    """Characters in lower case and what case folding makes of them, where that is another one."""
    found: dict[str, str] = {}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        lower = character.lower()
        if len(lower) == 1 and unicodedata.normalize("NFKC", lower) == lower and lower.casefold() != lower:
            found[lower] = lower.casefold()
    return tuple(sorted(found.items()))
