"""Addresses of files and folders: a plain path, or s3://bucket/path."""

from __future__ import annotations

import os
import re
from pathlib import Path

from datasets.errors import UserError

__all__ = ["MissingError", "StorageError", "absolute", "is_local", "join", "without_credentials"]

_BUCKET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}")


class StorageError(UserError):
    """Storage could not be reached, read or written; the message is one line that names the URL."""


class MissingError(StorageError):
    """There is no such file."""


def is_local(url: str) -> bool:
    return "://" not in url


def join(url: str, *parts: str) -> str:
    """`url`/part/part, for folders and buckets alike."""
    if is_local(url):
        return "/".join([url.rstrip("/") or "/", *parts]).replace("//", "/")
    return "/".join([url.rstrip("/"), *parts])


def absolute(url: str) -> str:
    """The address as another process, with another working directory, understands it; one way to write each place.

    `file:///folder` and `~` are resolved. Raises StorageError for what is neither a folder nor s3://bucket/path.
    """
    if url.startswith("file://"):
        host, separator, path = url.removeprefix("file://").partition("/")
        if host not in ("", "localhost") or not separator:
            raise StorageError(f"{url}: expected file:///folder, without a host")
        return absolute(f"/{path}")
    if is_local(url):
        return _absolute_path(url)
    scheme, _, place = url.partition("://")
    bucket, _, key = place.partition("/")
    if "@" in bucket:
        raise StorageError("s3://…@…: credentials do not belong in a URL; set AWS_ACCESS_KEY_ID and so on")
    if scheme != "s3":
        raise StorageError(
            f"{without_credentials(url)}: unknown scheme {scheme!r}; expected a folder or s3://bucket/path"
        )
    if not _BUCKET.fullmatch(bucket):
        raise StorageError(f"{url}: {bucket!r} is no bucket's name; expected s3://bucket/path")
    if not url.isprintable() or "?" in key or "#" in key or any(part in (".", "..") for part in key.split("/")):
        raise StorageError(f"{url}: expected s3://bucket/path without ?, #, . and ..")
    return f"s3://{bucket}/{'/'.join(part for part in key.split('/') if part)}".rstrip("/")


def _absolute_path(text: str) -> str:
    if not text or not text.isprintable():
        raise StorageError(f"{text!r}: expected a folder or s3://bucket/path")
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", text):
        raise StorageError(f"{text}: expected s3://bucket/path with two slashes, or a folder")
    try:
        return str(Path(text).expanduser().resolve())
    except (RuntimeError, OSError, ValueError) as error:
        raise StorageError(f"{text}: not a folder: {error}") from None


def without_credentials(text: str) -> str:
    """Servers and HTTP clients repeat what they were given; none of it is for a log."""
    for key in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"):
        if secret := os.environ.get(key):
            text = text.replace(secret, "…")
    return re.sub(r"//\S*@", "//…@", text)
