"""Small files that several processes may write: each write says which version it replaces, and fails on another.

Buckets have it as If-Match and If-None-Match; of folders a lock beside the file makes it so.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from filelock import FileLock

from datasets.storage.bucket import error_code, fetch_version, filesystem
from datasets.storage.files import one_line, write_bytes
from datasets.storage.urls import is_local

__all__ = ["read_version", "write_if"]

_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def read_version(url: str) -> tuple[bytes, str] | None:
    """The content of a file and its version; None where there is none. Raises StorageError."""
    fs, path = filesystem(url)
    with one_line(url):
        try:
            if is_local(url):
                content = Path(path).read_bytes()
                return content, hashlib.sha256(content).hexdigest()
            return fetch_version(fs, path)
        except FileNotFoundError:
            return None


def write_if(url: str, content: bytes, version: str | None) -> bool:
    """Write a file whose version is still `version`, or that is not there (None); whether it was. Raises StorageError.

    A server that knows no conditions writes in any case: read back who has the last word.
    """
    fs, path = filesystem(url)
    if is_local(url):
        with one_line(url):  # Timeout where another process is at it, OSError where nobody may write
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock", timeout=10):
                found = read_version(url)
                if (found[1] if found is not None else None) != version:
                    return False
                write_bytes(url, content)
                return True
    bucket, _, key = path.partition("/")
    condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
    with one_line(url):
        try:
            fs.call_s3("put_object", Bucket=bucket, Key=key, Body=content, **condition)
        except Exception as error:  # s3fs makes errors of several kinds of it
            if error_code(error) in _REFUSED or (isinstance(error, FileNotFoundError) and version is not None):
                return False
            if error_code(error) == "NotImplemented":
                fs.pipe_file(path, content)
                return True
            raise
    return True
