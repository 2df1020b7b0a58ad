"""`data`: where the dataset is and how workers read it."""

from __future__ import annotations

from typing import Literal

from dmgan.config.keys import Natural, Positive, Rate, Section, key

__all__ = ["Data"]


class Data(Section):
    """Where the dataset is and how workers read it."""

    url: str = key(
        "", "packed dataset: a folder or s3://bucket/path", "network", "fixed", "encoders", "path", "not searched"
    )
    draw_birds: bool = key(False, "whether the drawn pictures of data.drawn are packed at data.url", "not searched")
    drawn: Literal["birds", "birds-2", "scenes"] = key(
        "birds", "pictures that data.draw_birds draws: birds, birds-2 or scenes (docs/data.md)", "not searched"
    )
    mirror: bool = key(
        True,
        "whether half of the images are mirrored in pre-training and training; false for letters, flags and captions "
        "that say left or right, of which the start says how many there are",
        "fixed",
        "encoders",
    )
    local_s3: bool = key(False, "whether a local S3 server is started without AWS_ENDPOINT_URL", "not searched")
    max_words: Positive = key(
        18, "T, tokens of a caption in training: of a longer one random ones are kept", "fixed", "encoders"
    )
    loaders: Natural = key(0, "processes of a worker that decode images; 0: a thread of the worker")
    retries: Positive = key(8, "consecutive attempts without progress before a read fails")
    timeout_seconds: Rate = key(60.0, "seconds to wait for a response")
    on_bad_shard: Literal["error", "skip"] = key(
        "error", "what samples that cannot be read do: end the run, or be replaced by others and counted", "encoders"
    )
    cache_dir: str | None = key(None, "folder of each node for a cache of shards", "path")
    cache_bytes: Positive = key(10**10, "cache limit in bytes; least recently used shards are evicted")
