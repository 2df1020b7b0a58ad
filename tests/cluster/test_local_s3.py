from __future__ import annotations

import os
from pathlib import Path

import pytest

from cluster.local_s3 import local_s3
from datasets import storage
from datasets.manifest import Manifest
from datasets.stream import open_stream


@pytest.mark.distributed
def test_what_is_uploaded_is_streamed_and_outlives_the_server(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    before = dict(os.environ)
    with local_s3(tmp_path / "s3") as environment:
        assert not storage.exists("s3://bucket/birds/manifest.json")
        storage.upload_folder(Path(packed[0]), "s3://bucket/birds", last="manifest.json")
        from_bucket = list(open_stream("s3://bucket/birds", split="train", batch_size=4, start=3))
        assert all(os.environ[key] == value for key, value in environment.items())
    assert dict(os.environ) == before
    from_folder = list(open_stream(packed[0], split="train", batch_size=4, start=3))
    assert [b["key"] for b in from_bucket] == [b["key"] for b in from_folder]
    with local_s3(tmp_path / "s3"), local_s3(tmp_path / "another"):
        assert not storage.exists("s3://bucket/birds/manifest.json")
    with local_s3(tmp_path / "s3"):
        assert storage.exists("s3://bucket/birds/manifest.json")
    secrets = {environment["AWS_SECRET_ACCESS_KEY"], environment["AWS_ACCESS_KEY_ID"]}
    log = (tmp_path / "s3" / "server.log").read_text()
    assert not any(secret in log for secret in secrets)
    assert (tmp_path / "s3" / "s3.json").stat().st_mode & 0o077 == 0
