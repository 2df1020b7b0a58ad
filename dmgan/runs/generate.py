"""Images from captions with a trained run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from dmgan.config import Config
from dmgan.pixels import to_array
from dmgan.runs.run import Run
from dmgan.runs.samples import caption_grid, generate
from dmgan.runs.words import top_words
from dmgan.seeds import seed_of
from dmgan.training.batch import caption_tensors

__all__ = ["generate_files"]


def generate_files(config: Config, run: Run, captions: Sequence[str], out: Path, count: int, seed: int) -> list[Path]:
    """Write `count` images a caption (the last stage, PNG) to `out`, and grid.png with every stage of the first.

    Also words.txt, the words the memory wrote and read for each caption. Raises UnknownWordsError for a caption
    without a known word.
    """
    tokenizer = run.read_tokenizer(config.model)
    numbers, lengths = caption_tensors(captions, tokenizer, config.evaluate.max_words)
    generator, encoders = run.load_generator(), run.load_encoders(config)
    out.mkdir(parents=True, exist_ok=True)
    written, grid, notes = [], [], []
    for row, caption in enumerate(captions):
        draw = torch.Generator().manual_seed(seed_of(seed, row))
        noise = torch.randn(count, generator.noise_dim, generator=draw)
        output = generate(
            generator, encoders, numbers[row].expand(count, -1), lengths[row].expand(count).contiguous(), noise
        )
        name = re.sub(r"\W+", "-", caption.lower()).strip("-")[:60]
        for i, pixels in enumerate(to_array(output.images[-1])):
            path = out / f"{row:03d}-{name}-{i:02d}.png"
            Image.fromarray(pixels).save(path)
            written.append(path)
        grid.append([to_array(images[:1])[0] for images in output.images])
        words = tokenizer.decode(numbers[row][: int(lengths[row])].tolist())
        for stage, top in enumerate(top_words(output, 0, words), start=1):
            for kind, entries in top.items():
                listed = ", ".join(f"{word} {value:.2f}" for _, word, value in entries)
                notes.append(f"{caption} | refinement {stage} | {kind}: {listed}")
    (out / "grid.png").write_bytes(caption_grid(captions, grid))
    (out / "words.txt").write_text("\n".join(notes) + "\n")
    return [*written, out / "grid.png"]
