from __future__ import annotations

import os
from pathlib import Path

import pytest

from datasets import storage
from datasets.storage import StorageError


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("file:///data/runs", "/data/runs"),
        ("file://localhost/data", "/data"),
        ("~/runs", str(Path.home() / "runs")),
        ("/data/a/../b", "/data/b"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket//a/b/", "s3://bucket/a/b"),
        ("relative", str(Path("relative").absolute())),
    ],
)
def test_one_way_to_write_each_place(written: str, place: str) -> None:
    assert storage.absolute(written) == place


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("s3:/x", "expected s3://bucket/path with two slashes"),
        ("s3://", "'' is no bucket's name"),
        ("s3://b/x?query", "without"),
        ("s3://bucket/x?versionId=1", "without"),
        ("s3://bucket/../x", "without"),
        ("gs://bucket/x", "unknown scheme 'gs'"),
        ("http://host/x", "unknown scheme 'http'"),
        ("file://host/x", "without a host"),
        ("", "expected a folder"),
        ("a\nb", "expected a folder"),
        ("s3://key:secret@bucket/x", "credentials do not belong in a URL"),
    ],
)
def test_what_is_no_place_is_refused(written: str, reason: str) -> None:
    with pytest.raises(StorageError) as caught:
        storage.absolute(written)
    assert reason in str(caught.value) and "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_the_endpoint_is_found_as_aws_tools_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert storage.s3_endpoint() is None
    (tmp_path / "config").write_text("[default]\nendpoint_url = http://of.config:1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert storage.s3_endpoint() == "http://of.config:1"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://of.all:2")
    assert storage.s3_endpoint() == "http://of.all:2"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://of.s3:3")
    assert storage.s3_endpoint() == "http://of.s3:3"


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="pipe: not a file"):
        storage.read_bytes(str(tmp_path / "pipe"))
