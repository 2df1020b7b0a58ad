"""A served run as the gateway knows it: its limits and its tokenizer, without weights."""

from __future__ import annotations

from fastapi import HTTPException

from cluster.serving.pictures import Order
from cluster.serving.runs import ServedRun
from cluster.serving.schema import Format, ImagesRequest, ModelCard, Reading
from datasets.documents import short
from datasets.vocabulary import Vocabulary
from dmgan import Request

__all__ = ["Reader"]


class Reader:
    """Reads captions and refuses, with 422 and one line, what its model cannot draw."""

    def __init__(self, run: ServedRun) -> None:
        self.run, self.tokenizer = run, run.read_tokenizer()
        self.max_words = run.config.evaluate.max_words

    @property
    def card(self) -> ModelCard:
        settings = self.run.settings
        return ModelCard(
            name=self.run.name,
            step=self.run.record.step,
            resolutions=self.run.record.model.image_sizes,
            max_words=self.max_words,
            max_images=settings.max_images,
            max_caption_length=settings.max_caption_length,
            has_vocabulary=self.vocabulary is not None,
        )

    @property
    def vocabulary(self) -> list[str] | None:
        """The words it knows; None where the tokenizer is not one of words."""
        return list(self.tokenizer.words[1:]) if isinstance(self.tokenizer, Vocabulary) else None

    def read(self, caption: str, where: str = "caption") -> Reading:
        """What the text encoder makes of a caption, which may have no word that it knows."""
        longest = self.run.settings.max_caption_length
        if len(caption) > longest:
            raise HTTPException(
                422, f"{where}: has {len(caption)} characters, expected at most {longest} (serve.max_caption_length)"
            )
        ids = self.tokenizer.encode(caption)
        read = self.tokenizer.decode(ids[: self.max_words])
        unknown = list(dict.fromkeys(self.tokenizer.unknown(caption)))
        return Reading(words=read, unknown_words=unknown, cut=max(0, len(ids) - self.max_words))

    def order(self, asked: ImagesRequest, kind: Format) -> Order:
        """The drawings of a request, caption by caption and noise by noise."""
        images, most = len(asked.captions) * asked.count, self.run.settings.max_images
        if images > most:
            raise HTTPException(
                422,
                f"captions × count: {len(asked.captions)} × {asked.count} = {images} images, expected at most {most} "
                "(serve.max_images)",
            )
        for i, caption in enumerate(asked.captions):
            if not self.read(caption, f"captions[{i}]").words:
                raise HTTPException(
                    422, f"captions[{i}]={short(repr(caption))}: none of its words is in the vocabulary"
                )
        requests = [
            Request(caption, number, asked.seed, asked.truncation)
            for caption in asked.captions
            for number in range(asked.number, asked.number + asked.count)
        ]
        return Order(requests, kind, asked.details)
