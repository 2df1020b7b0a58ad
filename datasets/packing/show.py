"""python -m datasets.show URL: an HTML page of a packed dataset, to look at before training on it.

A random draw of each split's images as they are stored, with their captions, and how long captions are and which words
they have. The page is URL/dataset.html, or --out; it needs nothing else.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from datasets import storage
from datasets.captions import load_captions
from datasets.errors import UserError, run_command
from datasets.manifest import SPLIT_NAMES, Manifest, Split, load_manifest
from datasets.pages.kit import LAYOUT, figure, picture, render
from datasets.shards import ReadOptions, read_samples
from datasets.vocabulary import tokenize

__all__ = ["main", "show"]

_CAPTIONS = 3  # of an image that are shown
_COUNTED = 100_000  # images whose captions are counted, a split
_WORDS = 30


def show(url: str, images: int = 24, seed: int = 0) -> bytes:
    """The page, with so many images of each split. Raises ManifestError, DatasetError, StorageError."""
    manifest, vocabulary = load_manifest(url)
    lengths, words, counted = _count(url, manifest)
    headline = [(f"{part.samples:,}", f"{SPLIT_NAMES[name]} images") for name, part in manifest.splits.items()]
    headline += [
        (f"{sum(part.captions for part in manifest.splits.values()):,}", "captions"),
        (f"{len(vocabulary) - 1:,}", "words"),
        (f"{sum(part.size for part in manifest.splits.values()) / 1e6:,.1f} MB", "stored"),
        (f"{manifest.rejected:,}", "left out"),
    ]
    splits = [_split(url, name, part, images, seed) for name, part in manifest.splits.items()]
    context = {"title": manifest.name, "url": url, "manifest": manifest, "headline": headline, "splits": splits}
    figures = [_lengths(lengths), _frequent(words)]
    return render("dataset.html", {**context, "figures": figures, "counted": counted})


def _count(url: str, manifest: Manifest) -> tuple[Mapping[str, Counter[int]], Counter[str], str]:
    """Words a caption by split, how often each word is there, and of what."""
    lengths, words = dict[str, Counter[int]](), Counter[str]()
    for name in manifest.splits:
        lengths[name] = Counter()
        for entry in islice(load_captions(url, name, manifest), _COUNTED):
            for text in entry.captions:
                found = tokenize(text)
                lengths[name][len(found)] += 1
                words.update(found)
    whole = all(part.samples <= _COUNTED for part in manifest.splits.values())
    of = "all images" if whole else f"the first {_COUNTED:,} stored images of each split, which are in a random order"
    return lengths, words, f"{sum(c.total() for c in lengths.values()):,} captions, of {of}."


def _split(url: str, name: str, part: Split, images: int, seed: int) -> dict[str, object]:
    count = min(images, part.samples)
    positions = np.random.default_rng(seed).choice(part.samples, count, replace=False)
    return {
        "title": f"{SPLIT_NAMES[name].capitalize()} images",
        "said": f"{count} of {part.samples:,} images, drawn at random; {part.captions / part.samples:.1f} captions an "
        f"image, {part.classes:,} classes.",
        "samples": list(_samples(url, part, positions)),
    }


def _samples(url: str, part: Split, positions: np.ndarray) -> Iterator[dict[str, object]]:
    for sample in read_samples(url, part, positions, ReadOptions())[0]:
        assert sample is not None
        captions = sample.fields["captions"]
        yield {
            "image": picture(sample.jpg, captions[0]),
            "captions": captions[:_CAPTIONS],
            "more": len(captions[_CAPTIONS:]),
            "key": sample.key,
        }


def _lengths(lengths: Mapping[str, Counter[int]]) -> Markup:
    made = go.Figure(layout=LAYOUT)
    for name, found in lengths.items():
        places = sorted(found)
        shares = [found[length] / found.total() for length in places]
        made.add_bar(x=places, y=shares, name=SPLIT_NAMES[name])
    made.update_xaxes(title="words")
    made.update_yaxes(title="share of the captions", tickformat=".0%")
    return figure(made, "Words a caption")


def _frequent(words: Counter[str]) -> Markup:
    listed = words.most_common(_WORDS)[::-1]
    made = go.Figure(layout={**LAYOUT, "height": 620})
    made.add_bar(x=[count for _, count in listed], y=[word for word, _ in listed], orientation="h")
    made.update_xaxes(title="times")
    made.update_yaxes(type="category")
    return figure(made, f"The {len(listed)} most frequent words")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.show", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", metavar="URL", help="a folder or s3://bucket/path")
    parser.add_argument("--out", metavar="FILE", help="where the page goes (URL/dataset.html)")
    parser.add_argument("--images", type=int, default=24, help="images of each split (24)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    return run_command("datasets.show", partial(_carry_out, parser.parse_args(arguments)))


def _carry_out(asked: argparse.Namespace) -> int:
    if asked.images < 1 or asked.seed < 0:
        raise UserError(
            f"--images {asked.images}, --seed {asked.seed}: expected an image or more, and a seed of 0 or more"
        )
    out = asked.out or storage.join(asked.url, "dataset.html")
    storage.write_bytes(out, show(asked.url, asked.images, asked.seed))
    print(f"written to {out}")
    return 0
