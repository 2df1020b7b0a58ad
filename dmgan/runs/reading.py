"""How a configuration wants datasets read."""

from __future__ import annotations

from pathlib import Path

from datasets.cache import ShardCache
from datasets.stream import ReadOptions, Retry
from dmgan.config import Data

__all__ = ["read_options"]


def read_options(data: Data) -> ReadOptions:
    return ReadOptions(
        loaders=data.loaders,
        retry=Retry(attempts=data.retries, timeout=data.timeout_seconds),
        on_bad_shard=data.on_bad_shard,
        cache=ShardCache(Path(data.cache_dir), data.cache_bytes) if data.cache_dir else None,
        mirror=data.mirror,
    )
