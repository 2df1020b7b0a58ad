"""Images from captions with a trained run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from dmgan.config import Config, ConfigError
from dmgan.model.tokenizers import Tokenizer
from dmgan.pixels import to_array
from dmgan.runs.run import Run
from dmgan.runs.samples import caption_grid, generate
from dmgan.runs.words import top_words
from dmgan.seeds import seed_of
from dmgan.training.batch import caption_tensors

__all__ = ["Generated", "check_captions", "generate_files"]

_GRID = "grid.png"


@dataclass(frozen=True)
class Generated:
    """What a call wrote: an image a caption and noise, and a picture of every stage."""

    images: list[Path]
    grid: Path


def check_captions(captions: Sequence[str], tokenizer: Tokenizer, max_words: int) -> tuple[list[str], list[str]]:
    """The captions that can be drawn, and a warning for each thing that is not read. Raises ConfigError if none can."""
    usable, warnings = [], []
    unknown: dict[str, None] = {}
    for caption in captions:
        known = len(tokenizer.encode(caption))
        if known:
            usable.append(caption)
            unknown |= dict.fromkeys(tokenizer.unknown(caption))
        else:
            warnings.append(f"caption {caption!r}: none of its words is in the vocabulary; nothing is drawn of it")
        if known > max_words:
            warnings.append(f"caption {caption[:60]!r}…: cut to evaluate.max_words={max_words} of its {known} tokens")
    if unknown:
        warnings.append(f"not in the vocabulary and left out: {', '.join(unknown)}")
    if not usable:
        raise ConfigError(warnings[0].replace("; nothing is drawn of it", ""))
    return usable, warnings


def generate_files(config: Config, run: Run, captions: Sequence[str], out: Path, count: int, seed: int) -> Generated:
    """Write `count` images a caption (the last stage, PNG) to `out`, and grid.png with every stage of the first.

    Also words.txt, the words the memory wrote and read for each caption. Raises UnknownWordsError for a caption
    without a known word, ConfigError where `out` holds images of another call.
    """
    tokenizer = run.read_tokenizer(config)
    numbers, lengths = caption_tensors(captions, tokenizer, config.evaluate.max_words)
    names = [_names(row, caption, count) for row, caption in enumerate(captions)]
    _check_folder(out, {name for of_caption in names for name in of_caption})
    generator, encoders = run.load_generator(), run.load_encoders(config)
    out.mkdir(parents=True, exist_ok=True)
    written, grid, notes = [], [], []
    for row, caption in enumerate(captions):
        draw = torch.Generator().manual_seed(seed_of(seed, row))
        noise = torch.randn(count, generator.noise_dim, generator=draw)
        output = generate(
            generator, encoders, numbers[row].expand(count, -1), lengths[row].expand(count).contiguous(), noise
        )
        for name, pixels in zip(names[row], to_array(output.images[-1]), strict=True):
            Image.fromarray(pixels).save(out / name)
            written.append(out / name)
        grid.append([to_array(images[:1])[0] for images in output.images])
        words = tokenizer.decode(numbers[row][: int(lengths[row])].tolist())
        for stage, top in enumerate(top_words(output, 0, words), start=1):
            for kind, entries in top.items():
                listed = ", ".join(f"{word} {value:.2f}" for _, word, value in entries)
                notes.append(f"{caption} | refinement {stage} | {kind}: {listed}")
    (out / _GRID).write_bytes(caption_grid(captions, grid))
    (out / "words.txt").write_text("\n".join(notes) + "\n", encoding="utf-8")
    return Generated(written, out / _GRID)


def _names(row: int, caption: str, count: int) -> list[str]:
    name = re.sub(r"\W+", "-", caption.lower()).strip("-")[:60]
    while len(name.encode()) > 200:  # bytes; a file's name has at most 255
        name = name[:-1]
    return [f"{row:03d}-{name}-{i:02d}.png" for i in range(count)]


def _check_folder(out: Path, names: set[str]) -> None:
    if not out.is_dir():
        return
    others = sorted(path.name for path in out.glob("*.png") if path.name not in names and path.name != _GRID)
    if others:
        raise ConfigError(f"--out {out}: holds other images ({others[0]}); choose an empty folder, or remove them")
