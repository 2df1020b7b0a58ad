"""Reaching buckets as any AWS tool does: endpoint and credentials of the environment and of ~/.aws, or neither.

A public bucket is read without keys where none are to be found.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from datasets.storage.environment import storage_environment
from datasets.storage.urls import StorageError, absolute, is_local

__all__ = [
    "READ_SECONDS",
    "ask_for_list",
    "error_code",
    "fetch",
    "fetch_version",
    "filesystem",
    "reason_of",
    "s3_endpoint",
]

READ_SECONDS = 60
_CONNECT_SECONDS = 5
_CHUNK = 1 << 20  # bytes taken from a connection at a time


def s3_endpoint() -> str | None:
    """The configured endpoint: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or that of ~/.aws/config; None for AWS itself."""
    return _endpoint(_variables())


def _variables() -> tuple[tuple[str, str], ...]:
    return tuple(sorted(storage_environment().items()))


@lru_cache(maxsize=8)
def _endpoint(variables: tuple[tuple[str, str], ...]) -> str | None:
    import botocore.session
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.exceptions import BotoCoreError

    try:
        session = botocore.session.Session()
        provider = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), "s3")
        found: str | None = provider.provide()
    except BotoCoreError as error:  # a profile that is not there, a file that does not parse
        raise StorageError(f"AWS's configuration: {error}") from None
    return found or None


@lru_cache(maxsize=8)
def _has_credentials(variables: tuple[tuple[str, str], ...]) -> bool:
    """Whether there are any to be found. Asking may take a second where a cloud's own server is asked."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        return botocore.session.Session().get_credentials() is not None
    except BotoCoreError:
        return True  # there are, and wrong ones: whoever uses them says it


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The fsspec file system of `url` and the path on it. Raises StorageError for an address of another kind."""
    place = absolute(url)
    if is_local(place):
        return LocalFileSystem(auto_mkdir=True), place
    # The endpoint is named so that fsspec's cache of file systems does not outlive a change of it. botocore does
    # not repeat: what calls it does.
    config = {"retries": {"max_attempts": 0}, "connect_timeout": _CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    # Other processes write what this one looks for: a listing is never of before.
    fs, path = fsspec.url_to_fs(
        place,
        config_kwargs=config,
        endpoint_url=s3_endpoint(),
        use_listings_cache=False,
        anon=not _has_credentials(_variables()),
    )
    return fs, path


def ask_for_list(fs: AbstractFileSystem, path: str) -> None:
    """Raise what the server answers to a list of bucket/prefix, which is all that a policy of a prefix may allow."""
    bucket, _, prefix = path.partition("/")
    fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)


def reason_of(fs: AbstractFileSystem, path: str, error: Exception) -> Exception:
    """Why a bucket refused: the answer to HEAD has no body that says it, that to a list has."""
    try:
        ask_for_list(fs, path)
    except Exception as better:  # botocore raises a class of its own for every failure
        return better
    return error


def error_code(error: BaseException) -> str:
    """The server's code, such as ExpiredToken, of what s3fs makes of botocore's error; empty where there is none."""
    response: Any = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def fetch_version(fs: AbstractFileSystem, path: str) -> tuple[bytes, str]:
    """A small object and its ETag, of one answer. Raises FileNotFoundError and what else s3fs raises."""
    found: tuple[bytes, str] = fsspec.asyn.sync(fs.loop, _fetch_version, fs, path)
    return found


async def _fetch_version(fs: Any, path: str) -> tuple[bytes, str]:
    from s3fs.errors import translate_boto_error

    bucket, key, _ = fs.split_path(path)
    await fs.set_session()
    client = await fs.get_s3(bucket)
    try:
        response = await client.get_object(Bucket=bucket, Key=key)
    except Exception as error:
        raise translate_boto_error(error) from error
    body = response["Body"]
    try:
        return await body.read(), str(response["ETag"])
    finally:
        body.close()


async def fetch(fs: Any, path: str, start: int, end: int, received: bytearray, timeout: float) -> None:
    """Append to `received` what is missing of [start, end); what came before a failure stays."""
    from s3fs.errors import translate_boto_error

    bucket, key, _ = fs.split_path(path)
    span = f"bytes={start + len(received)}-{end - 1}"
    await fs.set_session()
    client = await fs.get_s3(bucket)
    try:
        response = await asyncio.wait_for(client.get_object(Bucket=bucket, Key=key, Range=span), timeout)
    except Exception as error:
        raise translate_boto_error(error) from error  # into FileNotFoundError and so on
    if response["ResponseMetadata"]["HTTPStatusCode"] != 206:
        raise StorageError(f"s3://{path}: the server does not give ranges of files, which reading shards needs")
    body = response["Body"]
    try:
        while chunk := await asyncio.wait_for(body.read(_CHUNK), timeout):
            received += chunk
    finally:
        body.close()
