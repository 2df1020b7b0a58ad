"""Small sources of every layout, of the same six pictures and captions."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from datasets.sources.records import MemoryImage, Record

NAMES = tuple(f"p{i}" for i in range(6))  # p0 … p3 are for training, p4 for validation, p5 for testing
SPLITS = ("train",) * 4 + ("validation", "test")


def picture(i: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30 + i, 24), (40 * i, 80, 200 - 30 * i)).save(file, "JPEG")
    return file.getvalue()


def captions(i: int) -> list[str]:
    return [f"picture number {i}", f"a picture, it is number {i}"]


def write(root: Path, name: str, content: bytes | str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def folder(root: Path) -> None:
    for i, name in enumerate(NAMES):
        write(root, f"images/{name}.jpg", picture(i))
    rows = [{"image": f"images/{n}.jpg", "captions": captions(i), "split": SPLITS[i]} for i, n in enumerate(NAMES)]
    write(root, "captions.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def imagefolder(root: Path) -> None:
    """A table in each split's folder, with one row a caption, and classes' sub-folders."""
    for split in set(SPLITS):
        rows = io.StringIO()
        writer = csv.writer(rows)
        writer.writerow(["file_name", "text"])
        for i, name in enumerate(NAMES):
            if SPLITS[i] == split:
                write(root, f"{split}/class {i % 2}/{name}.jpg", picture(i))
                writer.writerows([f"class {i % 2}/{name}.jpg", text] for text in captions(i))
        write(root, f"{split}/metadata.csv", rows.getvalue())


def parquet(root: Path) -> None:
    """As the Hub stores a dataset with a column of images, one of lists of texts and one of labels."""
    labels = {"info": {"features": {"label": {"names": ["even", "odd"], "_type": "ClassLabel"}}}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("text", pa.list_(pa.string())), ("label", pa.int64())])
    schema = schema.with_metadata({"huggingface": json.dumps(labels)})
    files = {"train-00000": (0, 1), "train-00001": (2, 3), "validation-00000": (4,), "test-00000": (5,)}
    (root / "data").mkdir(parents=True)
    for name, group in files.items():
        rows = [{"image": {"bytes": picture(i), "path": None}, "text": captions(i), "label": i % 2} for i in group]
        path = root / "data" / f"{name}-of-00002.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=1)


def webdataset(root: Path) -> None:
    """As img2dataset writes it: one caption, and its own tables beside the tars."""
    root.mkdir(parents=True, exist_ok=True)
    for shard, group in enumerate([(0, 1, 2), (3, 4, 5)]):
        with tarfile.open(root / f"{shard:05d}.tar", "w") as tar:
            for i in group:
                key = f"{shard:05d}{i:04d}"
                tree = {"caption": "not this one", "key": key, "status": "success"}
                files = {"jpg": picture(i), "json": json.dumps(tree).encode(), "txt": captions(i)[0].encode()}
                for suffix, content in files.items():
                    add(tar, f"{key}.{suffix}", content)
        pq.write_table(pa.table({"url": ["x"], "caption": ["y"]}), root / f"{shard:05d}.parquet")
        write(root, f"{shard:05d}_stats.json", "{}")


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    tar.addfile(header, io.BytesIO(content))


def pairs(root: Path) -> None:
    for i, name in enumerate(NAMES):
        folder = f"{SPLITS[i]}/10_things"
        write(root, f"{folder}/{name}.jpg", picture(i))
        write(root, f"{folder}/{name}{'.caption' if i % 2 else '.txt'}", "\n".join(captions(i)) + "\n")


def coco_tree(numbers: tuple[int, ...]) -> dict[str, object]:
    return {
        "images": [{"id": i, "file_name": f"{NAMES[i]}.jpg"} for i in numbers],
        "annotations": [{"image_id": i, "caption": text} for i in numbers for text in captions(i)],
    }


def coco(root: Path, year: str = "2017") -> None:
    for part, numbers in (("train", (0, 1, 2, 3)), ("val", (4, 5))):
        write(root, f"annotations/captions_{part}{year}.json", json.dumps(coco_tree(numbers)))
        for i in numbers:
            write(root, f"images/{part}{year}/{NAMES[i]}.jpg", picture(i))


def karpathy(root: Path) -> None:
    splits = ("train", "restval", "train", "train", "val", "test")
    images = []
    for i, (name, split) in enumerate(zip(NAMES, splits, strict=True)):
        part = "train2014" if i < 3 else "val2014"
        write(root, f"{part}/{name}.jpg", picture(i))
        texts = [{"raw": text, "tokens": text.split()} for text in captions(i)]
        images.append({"filepath": part, "filename": f"{name}.jpg", "split": split, "sentences": texts})
    write(root, "dataset_coco.json", json.dumps({"dataset": "coco", "images": images}))


def flickr(root: Path) -> None:
    """Flickr8k, as unpacked."""
    lines = [f"{name}.jpg#{n}\t{captions(i)[n]}\n" for n in range(2) for i, name in enumerate(NAMES)]
    write(root, "Flickr8k_text/Flickr8k.token.txt", "".join(lines))
    write(root, "Flickr8k_text/Flickr8k.lemma.token.txt", "p0.jpg#0\tpicture be\n")
    for split, called in (("train", "train"), ("validation", "dev"), ("test", "test")):
        listed = "".join(f"{name}.jpg\n" for i, name in enumerate(NAMES) if SPLITS[i] == split)
        write(root, f"Flickr8k_text/Flickr_8k.{called}Images.txt", listed)
    for i, name in enumerate(NAMES):
        write(root, f"Flicker8k_Dataset/{name}.jpg", picture(i))


def cub(root: Path) -> None:
    images = [f"00{1 + i % 2}.{'ab'[i % 2]}/{name}.jpg" for i, name in enumerate(NAMES)]
    for i, image in enumerate(images):
        write(root, f"CUB_200_2011/images/{image}", picture(i))
        write(root, f"text/{image.removesuffix('.jpg')}.txt", "\n".join(captions(i)))
    write(root, "CUB_200_2011/images.txt", "\n".join(f"{i} {image}" for i, image in enumerate(images)))
    write(root, "CUB_200_2011/bounding_boxes.txt", "\n".join(f"{i} 1.0 2.0 20.0 15.0" for i in range(len(images))))
    write(root, "trainvalclasses.txt", "001.a")
    write(root, "testclasses.txt", "002.b")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "cub": cub,
    "coco": coco,
    "karpathy": karpathy,
    "folder": folder,
    "imagefolder": imagefolder,
    "parquet": parquet,
    "webdataset": webdataset,
    "pairs": pairs,
    "flickr": flickr,
}


def shown(record: Record, root: object) -> tuple[object, ...]:
    """A record as one can compare it with that of the same source elsewhere."""
    name = record.image.name if isinstance(record.image, MemoryImage) else record.image.name.removeprefix(f"{root}/")
    with record.image.open() as file:
        content = file.read()
    return record.key, name, content, record.captions, record.split, record.class_name, record.box, record.upright
