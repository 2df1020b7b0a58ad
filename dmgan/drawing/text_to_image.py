"""A trained run that draws: captions in, pictures out.

Shapes: B drawings of a batch, T tokens, N_w word features, Z noise, C condition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from datasets import storage
from datasets.documents import short
from datasets.vocabulary import Vocabulary
from dmgan.config import Config
from dmgan.drawing.device import number_type, usable_device
from dmgan.drawing.host import on_host
from dmgan.drawing.request import DrawingError, Request, check_truncation, check_whole, random_numbers
from dmgan.drawing.result import Drawing, Result
from dmgan.model.generator import Generator, GeneratorOutput
from dmgan.model.tokenizers import Tokenizer
from dmgan.runs.checkpoints import load_averaged
from dmgan.runs.run import Run
from dmgan.training.batch import caption_tensors

__all__ = ["Encoded", "Reading", "TextToImage"]


class Reading(NamedTuple):
    """What the text encoder makes of a caption."""

    words: list[str]  # that it reads: the first `evaluate.max_words` of its tokens
    unknown_words: list[str]  # that it does not know, and leaves out
    tokens: int  # that it would read of a caption of any length


class Encoded(NamedTuple):
    """Captions as the generator takes them: words (B, N_w, T), sentence (B, N_w), padding_mask (B, T)."""

    words: Tensor
    sentence: Tensor
    padding_mask: Tensor


class TextToImage:
    """Draws captions with a run's generator, the same picture for (seed, caption, number) whatever is drawn beside it.

    `model(captions)` keeps all drawings in memory; `model.draw(requests)` makes them one batch at a time.
    """

    def __init__(
        self, name: str, step: int, config: Config, generator: Generator, text: nn.Module, tokenizer: Tokenizer
    ) -> None:
        """Of networks in evaluation mode on the CPU; `from_run` has them from a run."""
        self.name, self.step, self.config = name, step, config
        self.generator, self.text, self.tokenizer = generator, text, tokenizer
        # As for a caption alone: the released mask depends on the other captions of a batch.
        self.generator.interleaved_mask = False
        self.device, self.dtype = torch.device("cpu"), torch.float32

    @classmethod
    def from_run(
        cls,
        url: str,
        step: int | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        *,
        config: Config | None = None,
    ) -> TextToImage:
        """The run at `url`, a folder or s3://bucket/path, ready to draw.

        `step`: the averaged generator of that checkpoint in place of the run's own. `device`: a GPU where there is
        one. `dtype`: float32, or bfloat16 or float16 in convolutions and matrix products. `config`: in place of
        run.yaml. Raises ConfigError, StorageError, DrawingError.
        """
        place, numbers = usable_device(device), number_type(dtype)
        run = Run(storage.absolute(str(url)))
        config = run.read_config() if config is None else config
        tokenizer, own = run.read_tokenizer(config), run.trained_steps()
        if step is None or step == own:
            step, generator = own, run.load_generator()
        else:
            check_whole("step", step, 0)
            generator = load_averaged(run, step)
        model = cls(run.name, step, config, generator, run.load_text_encoder(config), tokenizer)
        return model.to(place, numbers)

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> TextToImage:
        """This model, which from now on draws there, in these numbers."""
        self.generator.to(device)
        self.text.to(device)
        self.device, self.dtype = device, dtype
        return self

    @property
    def resolution(self) -> int:
        """Pixels a side of the last stage's images."""
        return self.resolutions[-1]

    @property
    def resolutions(self) -> list[int]:
        """Pixels a side of each stage's images, small to large."""
        return self.config.model.image_sizes

    @property
    def max_words(self) -> int:
        """T, the tokens of a caption that are read."""
        return self.config.evaluate.max_words

    @property
    def vocabulary(self) -> list[str] | None:
        """The words it knows; None where the tokenizer is not one of words."""
        return list(self.tokenizer.words[1:]) if isinstance(self.tokenizer, Vocabulary) else None

    def read(self, caption: str) -> Reading:
        """What the text encoder makes of a caption; nothing is drawn."""
        ids = self.tokenizer.encode(caption)
        return Reading(self.tokenizer.decode(ids[: self.max_words]), self.tokenizer.unknown(caption), len(ids))

    def __call__(
        self,
        captions: Sequence[str],
        count: int = 1,
        seed: int = 0,
        truncation: float | None = None,
        batch_size: int = 16,
        maps: bool = True,
    ) -> Result:
        """`count` drawings of each caption, all in memory; see `draw`."""
        if isinstance(captions, str):
            raise DrawingError(f"captions={short(captions)}: expected a list of captions")
        check_whole("count", count, 1)
        check_truncation(truncation)
        requests = (Request(caption, number, seed, truncation) for caption in captions for number in range(count))
        return Result(list(self.draw(requests, batch_size, maps)))

    def draw(self, requests: Iterable[Request], batch_size: int = 16, maps: bool = False) -> Iterator[Drawing]:
        """A drawing for each request, in order. Requests are taken, and drawings held, a batch at a time.

        `maps`: whether each drawing has its attention and response gates, about 2 MB at 256 pixels. What a request
        gives differs between batch sizes by the rounding of float32: by at most 1 of 255 in a pixel. Raises
        UnknownWordsError for a caption without a known word, DrawingError.
        """
        check_whole("batch_size", batch_size, 1)
        return self._batches(iter(requests), batch_size, maps)

    def _batches(self, requests: Iterator[Request], batch_size: int, maps: bool) -> Iterator[Drawing]:
        while batch := list(islice(requests, batch_size)):
            yield from self._drawn(batch, maps)

    def _drawn(self, batch: Sequence[Request], maps: bool) -> Iterator[Drawing]:
        noise, eps = random_numbers(batch, self.generator.noise_dim, self.generator.condition_dim)
        captions = list(dict.fromkeys(request.caption for request in batch))
        where = {caption: row for row, caption in enumerate(captions)}
        encoded = self.encode(captions)
        rows = torch.tensor([where[request.caption] for request in batch], device=self.device)
        output = self.render(Encoded(*(part[rows] for part in encoded)), noise, eps)
        host = on_host(output, maps)
        readings = [self.read(caption) for caption in captions]
        for row, request in enumerate(batch):
            reading = readings[where[request.caption]]
            yield host.drawing(row, request, reading.words, reading.unknown_words)

    @torch.inference_mode()
    def encode(self, captions: Sequence[str]) -> Encoded:
        """Word and sentence features of captions, on the model's device. Raises UnknownWordsError."""
        ids, lengths = caption_tensors(captions, self.tokenizer, self.max_words)
        ids = ids.to(self.device)
        words, sentence = self.text(ids, lengths)
        return Encoded(words, sentence, ids == 0)

    @torch.inference_mode()
    def render(self, encoded: Encoded, noise: Tensor, eps: Tensor) -> GeneratorOutput:
        """The generator's output for encoded captions, noise z (B, Z) and ε (B, C).

        Raises DrawingError where the numbers overflow, as float16's may.
        """
        noise, eps = noise.to(self.device), eps.to(self.device)
        with self.precision():
            output: GeneratorOutput = self.generator(noise, encoded.sentence, encoded.words, encoded.padding_mask, eps)
        if not bool(output.images[-1].sum().isfinite()):  # of numbers within ±1, unless one is none
            raise DrawingError(
                f"{self.name}: pictures of {self.dtype} are no numbers; expected dtype=bfloat16 or float32"
            )
        return output

    def precision(self) -> AbstractContextManager[object]:
        """Within it the generator computes in this model's `dtype`."""
        if self.dtype != torch.float32:
            return torch.autocast(self.device.type, self.dtype)
        # Without TensorFloat-32, whose 10 bits show in the pixels: a GPU draws what a CPU does.
        return torch.backends.cudnn.flags(allow_tf32=False) if self.device.type == "cuda" else nullcontext()
