"""Read WebDataset tars, such as img2dataset writes them, each in one sequential stream that is never unpacked to disk.

SOURCE/**/*.tar, or a pattern such as SOURCE/{00000..00099}.tar, of
    <key>.jpg, .png, .webp, …     the image
    <key>.txt                     its caption, or else
    <key>.json                    caption or captions of it
    <key>.cls                     its class, where there is one

The split is that of the tar's or its folder's name.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from datasets.sources.containers import containers
from datasets.sources.folder import name_of
from datasets.sources.options import PackOptions
from datasets.sources.place import glance, is_image, kind, open_file
from datasets.sources.records import (
    Entry,
    MemoryImage,
    Reader,
    Recognition,
    Record,
    Rejection,
    Source,
    SourceError,
    key_of,
    readers,
)
from datasets.sources.rows import captions_of
from datasets.sources.splits import split_in

__all__ = ["TarPart", "read", "recognise"]

_TEXTS = ("txt", "json", "cls")


@dataclass(frozen=True)
class TarPart:
    """One tar."""

    path: Path
    name: str  # from SOURCE
    version: str
    encoding: str

    def entries(self) -> Iterator[Entry]:
        """A record of every sample, whose files are next to one another. Raises SourceError, StorageError."""
        key, sample = "", dict[str, bytes]()
        for name, content in _members(self.path):
            folder, _, base = name.rpartition("/")
            new_key = f"{folder}/{base.split('.', 1)[0]}".lstrip("/")
            if sample and new_key != key:
                yield from self._entries(key, sample)
                sample = {}
            key = new_key
            sample[name] = content
        if sample:
            yield from self._entries(key, sample)

    def _entries(self, key: str, sample: dict[str, bytes]) -> Iterator[Entry]:
        images = [name for name in sample if is_image(name)]
        if not images:
            yield Rejection(f"{self.name}/{key}", "the sample has no image")
            return
        for other in images[1:]:
            yield Rejection(f"{self.name}/{other}", f"a second image beside {images[0]}")
        image = f"{self.name}/{images[0]}"
        texts = {name.rsplit(".", 1)[-1].casefold(): content for name, content in sample.items()}
        captions, rejected = _captions(image, texts, self.encoding)
        yield from rejected
        if not captions:
            if all(rejection.caption is not None for rejection in rejected):  # of an image one reason is enough
                yield Rejection(image, "no caption: the sample has no .txt, and no .json with one")
            return
        yield Record(
            key=f"{key_of(self.name)}/{key_of(key)}",
            image=MemoryImage(image, sample[images[0]]),
            captions=tuple(captions),
            split=split_in(self.name),
            class_name=texts.get("cls", b"").decode("utf-8", "replace").strip(),
        )


def _captions(image: str, texts: dict[str, bytes], encoding: str) -> tuple[list[str], list[Rejection]]:
    """The captions of a sample, and what of it is none."""
    rejected: list[Rejection] = []
    if "txt" in texts:
        try:
            text = " ".join(texts["txt"].decode(encoding).split())
        except UnicodeDecodeError:
            return [], [Rejection(image, f"its .txt is not {encoding.upper()}; --set encoding=… says what it is")]
        captions, rejected = captions_of(image, text)
        if captions:
            return captions, rejected
    try:
        tree = json.loads(texts["json"]) if "json" in texts else {}
    except (ValueError, RecursionError):
        return [], [*rejected, Rejection(image, "its .json is not JSON")]
    caption = next((tree[key] for key in ("caption", "captions") if tree.get(key)), None) if _is_dict(tree) else None
    if caption is None:
        return [], rejected
    found, more = captions_of(image, caption)
    return [" ".join(text.split()) for text in found], [*rejected, *more]


def _is_dict(tree: object) -> bool:
    return isinstance(tree, dict)


class _Header(tarfile.TarInfo):
    """A file's header. A damaged one, or the lack of any, ends a tar for tarfile without a word."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(tar)
        except tarfile.HeaderError as error:
            if str(error) == "end of file header":  # the tar's proper end
                raise
            raise tarfile.ReadError("it ends early" if str(error) == "empty header" else str(error)) from error


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a tar's images and texts, in order. Raises SourceError, StorageError."""
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r|", tarinfo=_Header) as tar:
            for member in tar:
                tar.members.clear()  # type: ignore[attr-defined]  # it keeps all of them
                if not member.isfile() or not _is_read(member.name):
                    continue
                content = cast(BinaryIO, tar.extractfile(member)).read()
                if len(content) != member.size:
                    raise tarfile.ReadError("it ends early")
                yield member.name.removeprefix("./"), content
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{path}: not a readable tar ({reason})") from error


def _is_read(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return not base.startswith(".") and (is_image(base) or base.rsplit(".", 1)[-1].casefold() in _TEXTS)


def read(source: Path, options: PackOptions | None = None) -> Source:
    """The tars of SOURCE, each a part. Raises SourceError."""
    encoding = (options or PackOptions()).encoding
    parts = [TarPart(found.path, found.name, found.version, encoding) for found in containers(source, ".tar")]
    return Source(name_of(source), parts=parts)


def recognise(source: Path) -> Recognition:
    if source.suffix == ".tar" and ("{" in str(source) or kind(source) == "file"):
        return Recognition(found=f"{source.name} is a tar, or a pattern of tars")
    files, folders = glance(source)
    for folder in ["", *folders[:20]]:
        tars = [name for name in (glance(source / folder)[0] if folder else files) if name.endswith(".tar")]
        if tars:
            return Recognition(found=f"{folder + '/' if folder else ''}{tars[0]} is a tar")
    return Recognition()


readers.register("webdataset", Reader(read, recognise))
