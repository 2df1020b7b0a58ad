"""`text`: how captions become the ids that a text encoder takes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from dmgan.config.keys import Positive, Role, Section, key

__all__ = ["Text"]

_VOCABULARY_SIZE = 8000


class Text(Section):
    """How captions become the ids that a text encoder takes."""

    ROLES: ClassVar[tuple[Role, ...]] = ("network", "fixed", "encoders")

    tokenizer: Literal["words", "bpe", "characters"] = key(
        "words", "tokens of a caption: words of the dataset's vocabulary, pieces of words (byte-level BPE), characters"
    )
    # Padding and the 256 bytes, of which every text is made.
    vocabulary_size: Annotated[int, Field(ge=257)] = key(_VOCABULARY_SIZE, "ids of bpe at the most, with padding")
    min_count: Positive = key(1, "times that training captions must have a word for words to number it")

    @model_validator(mode="after")
    def _of_this_tokenizer(self) -> Text:
        """A value that the tokenizer would not look at is a mistake."""
        if self.min_count > 1 and self.tokenizer != "words":
            raise ValueError(f"min_count={self.min_count}: expected tokenizer=words, got {self.tokenizer}")
        if self.vocabulary_size != _VOCABULARY_SIZE and self.tokenizer != "bpe":
            raise ValueError(f"vocabulary_size={self.vocabulary_size}: expected tokenizer=bpe, got {self.tokenizer}")
        return self
