"""The tokenizer of a run, and what it makes of the dataset's captions, before anything is trained on them."""

from __future__ import annotations

import re
from itertools import islice

from datasets.manifest import SPLIT_NAMES
from dmgan.config import Config, ConfigError, absolute_paths
from dmgan.model.text_encoders import learn_tokenizer, text_encoders
from dmgan.model.tokenizers import Tokenizer, captions_of
from dmgan.runs.run import Run

__all__ = ["check_captions", "check_samples", "pretraining_tokenizer", "sided_captions", "sides_note"]

_SIDES = re.compile(r"\b(left|right)(most|wards?)?\b", re.IGNORECASE)
_CHECKED = 200_000  # captions; images are stored in a random order


def pretraining_tokenizer(config: Config, run: Run) -> tuple[Tokenizer, str]:
    """The tokenizer of encoders that are to be trained, and the key that it follows, for messages.

    Learnt of the dataset, unless pre-training goes on from a checkpoint, whose embeddings are of the ids it had.
    """
    own = text_encoders.get(config.model.text_encoder).tokenizer is not None
    key = "model.text_encoder" if own else "text.min_count" if config.text.min_count > 1 else "text.tokenizer"
    goes_on = run.has("checkpoints") and run.has("vocabulary.json")
    return run.read_tokenizer(config) if goes_on else learn_tokenizer(config), f"{key}={config.value(key)}"


def check_captions(config: Config, split: str, tokenizer: Tokenizer, whose: str) -> str | None:
    """How many captions of the split are cut, in a line, if any are; the first ones stand for all of a large dataset.

    Raises ConfigError, which begins with `whose` tokenizer it is, for a caption of which it knows nothing.
    """
    key = "data.max_words" if split == "train" else "evaluate.max_words"
    limit, captions, cut = int(str(config.value(key))), 0, 0
    for caption in islice(captions_of(config.data.url, split), _CHECKED):
        tokens = len(tokenizer.encode(caption))
        if not tokens:
            raise ConfigError(
                f"{whose}: the tokenizer knows no word of {caption!r}, a caption of {config.data.url}, and cannot be "
                "used on that dataset"
            )
        captions, cut = captions + 1, cut + (tokens > limit)
    if not cut:
        return None
    said = f"the first {captions}" if captions == _CHECKED else f"{captions}"
    kept = "random" if split == "train" else "the first"
    return f"{key}={limit}: {cut} of {said} {SPLIT_NAMES[split]} captions have more tokens; {kept} ones are kept"


def sided_captions(config: Config) -> tuple[int, int]:
    """How many training captions say left or right in English, of how many; the first ones of a large dataset."""
    sided = captions = 0
    for caption in islice(captions_of(config.data.url, "train"), _CHECKED):
        captions, sided = captions + 1, sided + (_SIDES.search(caption) is not None)
    return sided, captions


def sides_note(config: Config) -> str | None:
    """What mirrored images do to captions that say left or right, in a line, where there are any."""
    if not config.data.mirror:
        return None
    sided, captions = sided_captions(config)
    if not sided:
        return None
    return (
        f"data.mirror=true: {sided} of {captions} training captions say left or right, and half of the images are "
        "mirrored, so that these captions are wrong of them; --set data.mirror=false leaves them as they are"
    )


def check_samples(config: Config, tokenizer: Tokenizer) -> None:
    """Raises ConfigError for one's own caption of `samples.captions` of which the tokenizer knows nothing."""
    for caption in absolute_paths(config).samples.captions or ():
        if not tokenizer.encode(caption):
            raise ConfigError(f"samples.captions: none of the words of {caption!r} is in the vocabulary")
