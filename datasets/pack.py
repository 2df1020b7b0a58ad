"""python -m datasets.pack cub|birds SOURCE DEST: captioned images into tar shards, a manifest and a vocabulary.

    cub     SOURCE holds CUB-200-2011 and its captions (see `datasets.cub`)
    birds   SOURCE is a folder in which the drawn birds are made if they are not there yet (see `datasets.birds`)

DEST is a folder or s3://bucket/path. Its manifest appears last, when everything it names is there.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import webdataset
from PIL import Image
from tqdm import tqdm

from datasets import birds, cub, storage
from datasets.cub import Record, SourceError
from datasets.manifest import Manifest, Shard, Split
from datasets.vocabulary import Vocabulary

__all__ = ["main", "pack"]

STORED_PER_RESOLUTION = 76 / 64  # room for the random crop, as in the released code


def pack(
    records: Sequence[Record],
    dest: str,
    *,
    name: str,
    resolution: int,
    quality: int = 95,
    shard_samples: int = 1000,
    progress: bool = True,
) -> Manifest:
    """Write the records as shards of at most `shard_samples`, then vocabulary and manifest, to `dest`.

    Images are cropped to their box, their shorter side is resized to 76/64 of `resolution`; they are stored as JPEG.
    Raises SourceError for an
    image that does not open or an image without captions, StorageError for a destination out of reach.
    """
    stored = round(resolution * STORED_PER_RESOLUTION)
    vocabulary = Vocabulary.build(caption for record in records for caption in record.captions)
    splits: dict[str, Split] = {}
    with (
        tempfile.TemporaryDirectory(prefix="dmgan-pack-") as folder,
        tqdm(total=len(records), desc=f"pack {name}", unit="image", disable=not progress) as bar,
    ):
        for split in sorted({record.split for record in records}, reverse=True):
            chosen = [record for record in records if record.split == split]
            shards: list[Shard] = []
            for first in range(0, len(chosen), shard_samples):
                path = Path(folder) / f"{split}-{len(shards):06d}.tar"
                part = chosen[first : first + shard_samples]
                shards.append(_write_shard(path, part, first, vocabulary, stored, quality, bar))
            texts = [(record.key, record.class_id, record.captions) for record in chosen]
            (Path(folder) / f"{split}-captions.json").write_text(json.dumps(texts))
            captions = sum(len(record.captions) for record in chosen)
            classes = len({record.class_id for record in chosen})
            splits[split] = Split(len(chosen), captions, classes, tuple(shards))
        words = vocabulary.to_json()
        manifest = Manifest(
            name=name,
            stored_size=stored,
            resolution=resolution,
            vocabulary_size=len(vocabulary),
            vocabulary_sha256=hashlib.sha256(words.encode()).hexdigest(),
            splits=splits,
        )
        (Path(folder) / "vocabulary.json").write_text(words)
        (Path(folder) / "manifest.json").write_text(manifest.to_json())
        storage.upload_folder(Path(folder), dest, last="manifest.json")
    return manifest


def _write_shard(
    path: Path,
    records: Sequence[Record],
    index: int,
    vocabulary: Vocabulary,
    stored: int,
    quality: int,
    bar: tqdm[NoReturn],
) -> Shard:
    offsets = []
    with path.open("wb") as file, webdataset.TarWriter(file, mtime=0) as tar:
        for position, record in enumerate(records, start=index):
            offsets.append(tar.tarstream.offset)  # the file itself lags behind, the stream is buffered
            tokens = [vocabulary.encode(caption) for caption in record.captions]
            if not tokens or not all(tokens):
                raise SourceError(f"{record.image}: every image needs captions, and every caption a word")
            about = {"index": position, "class": record.class_id, "captions": record.captions, "tokens": tokens}
            image = _encode(record, stored, quality)
            tar.write({"__key__": record.key, "jpg": image, "json": json.dumps(about).encode()})
            bar.update()
    content = path.read_bytes()
    return Shard(path.name, hashlib.sha256(content).hexdigest(), len(content), tuple(offsets))


def _encode(record: Record, stored: int, quality: int) -> bytes:
    try:
        image = Image.open(record.image).convert("RGB")
    except OSError as error:
        raise SourceError(f"{record.image}: not a readable image ({error})") from error
    if record.box is not None:
        image = cub.crop_to_box(image, record.box)
    scale = stored / min(image.size)
    size = (max(stored, round(image.width * scale)), max(stored, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.pack", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["cub", "birds"])
    parser.add_argument("source", type=Path)
    parser.add_argument("dest")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="resolution, quality, …")
    options = parser.parse_args(arguments)
    settings = {"resolution": 64 if options.kind == "birds" else 256, "quality": 95, "shard_samples": 1000}
    try:
        for assignment in options.set:
            key, _, value = assignment.partition("=")
            if key not in settings or not value.isdigit() or int(value) == 0:
                raise SourceError(f"--set {assignment}: expected one of {', '.join(settings)}=POSITIVE INTEGER")
            settings[key] = int(value)
        if options.kind == "birds":
            birds.ensure(options.source)
        records = list(cub.read(options.source))
        name = "drawn birds" if options.kind == "birds" else "CUB-200-2011"
        manifest = pack(
            records,
            options.dest,
            name=name,
            resolution=settings["resolution"],
            quality=settings["quality"],
            shard_samples=settings["shard_samples"],
        )
    except (SourceError, storage.StorageError) as error:
        print(f"datasets.pack: {error}", file=sys.stderr)
        return 2
    for split, part in manifest.splits.items():
        print(f"{split}: {part.samples} images, {part.captions} captions, {part.classes} classes, ", end="")
        print(f"{len(part.shards)} shards, {sum(s.size for s in part.shards) / 1e6:.1f} MB")
    print(f"packed to {options.dest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
