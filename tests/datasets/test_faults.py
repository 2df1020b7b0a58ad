"""The bucket misbehaves: a real S3 server over HTTP with a proxy between that injects faults."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from datasets import storage
from datasets.cache import ShardCache
from datasets.index import load_index
from datasets.manifest import Manifest, load_manifest
from datasets.packing.pack import PackOptions, pack
from datasets.storage import MissingError, Retry, StorageError
from datasets.storage.local_s3 import local_s3
from datasets.stream import DatasetError, ReadOptions, Skipped, open_stream
from tests.datasets.faulty_proxy import Fault, Proxy, faulty_proxy

pytestmark = pytest.mark.distributed
URL = "s3://bucket/birds"
QUICK = ReadOptions(retry=Retry(attempts=4, first_wait=0.02, timeout=1.0))


@pytest.fixture(scope="module")
def server(packed: tuple[str, Manifest], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with local_s3(tmp_path_factory.mktemp("s3")) as environment:
        storage.upload_folder(Path(packed[0]), URL, last="manifest.json")
        yield environment


@pytest.fixture
def proxy(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with faulty_proxy(server["AWS_ENDPOINT_URL"]) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        yield between


def stream(url: str, options: ReadOptions | None = None, skipped: Skipped | None = None) -> list[dict[str, Any]]:
    return list(open_stream(url, split="train", batch_size=4, options=options, skipped=skipped))


@pytest.fixture(scope="module")
def expected(packed: tuple[str, Manifest]) -> list[dict[str, Any]]:
    return stream(packed[0])


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    pairs = list(zip(found, expected, strict=True))
    return all(a.keys == b.keys and torch.equal(a.images, b.images) for a, b in pairs)


@pytest.mark.parametrize(
    "fault",
    [Fault(status=500), Fault(status=503), Fault(hang=1.5), Fault(cut_after=0), Fault(cut_after=3000)],
    ids=["500", "503 SlowDown", "timeout", "cut before the body", "cut in the body"],
)
def test_what_passes_costs_no_sample(proxy: Proxy, expected: list[dict[str, Any]], fault: Fault) -> None:
    proxy.fault = lambda number, path: fault if number in (1, 2, 4) else None
    skipped = Skipped()
    assert same(stream(URL, QUICK, skipped), expected)
    assert skipped.samples == 0 and len(proxy.ranges) >= 6 + 3


def test_a_cut_connection_goes_on_from_the_byte_where_it_stopped(
    proxy: Proxy, expected: list[dict[str, Any]], packed: tuple[str, Manifest]
) -> None:
    proxy.fault = lambda number, path: Fault(cut_after=3000) if number % 3 != 2 else None
    assert same(stream(URL, QUICK), expected)
    asked: dict[str, list[tuple[int, int]]] = {}
    for path, first, last in proxy.ranges:
        if path.endswith(".tar"):
            asked.setdefault(path, []).append((first, last))
    assert len(asked) == len(packed[1].splits["train"].shards) == 6
    for spans in asked.values():
        assert [first for first, _ in spans] == [3000 * i for i in range(len(spans))]  # never a byte twice
        assert len({last for _, last in spans}) == 1
    assert any(len(spans) == 3 for spans in asked.values())


def test_more_cuts_than_attempts_are_survived_as_long_as_bytes_come(
    proxy: Proxy, expected: list[dict[str, Any]]
) -> None:
    proxy.fault = lambda number, path: Fault(cut_after=9000)
    assert same(stream(URL, QUICK), expected)
    assert len(proxy.ranges) > 4 * QUICK.retry.attempts


def test_refused_connections_are_waited_for(proxy: Proxy, expected: list[dict[str, Any]]) -> None:
    batches = open_stream(URL, split="train", batch_size=4, options=ReadOptions(retry=Retry(first_wait=0.05)))
    fault = threading.Event()

    def end_after_two(number: int, path: str) -> Fault | None:
        if number == 2:
            fault.set()
            return Fault(hang=0.5)
        return None

    proxy.fault = end_after_two

    def away() -> None:
        fault.wait(30)
        proxy.stop()
        time.sleep(1.5)
        proxy.start()

    outage = threading.Thread(target=away)
    outage.start()
    assert same(list(batches), expected)
    outage.join()
    assert fault.is_set()


def test_a_bucket_that_stays_away_ends_in_one_line(proxy: Proxy, server: dict[str, str]) -> None:
    proxy.fault = lambda number, path: Fault(status=503)
    with pytest.raises(
        DatasetError, match=r"s3://bucket/birds/train-00000\d\.[a-z.]+: cannot be reached at http://127"
    ) as e:
        stream(URL, QUICK)
    assert "\n" not in str(e.value) and "reduce your request rate" in str(e.value)
    proxy.stop()
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot be reached at http://127"):
        storage.exists(f"{URL}/manifest.json")
    assert time.monotonic() - began < 30
    proxy.start()


def other_dataset(cub_source: Path, url: str) -> Manifest:
    from datasets.sources import cub

    options = PackOptions(resolution=32, shard_samples=8, processes=1)
    return pack(cub.read(cub_source), url, options, progress=False)


@pytest.mark.parametrize("how", ["missing", "truncated", "wrong"])
def test_what_does_not_pass_is_named_or_counted(proxy: Proxy, cub_source: Path, how: str) -> None:
    url = f"s3://bucket/{how}"
    shards = other_dataset(cub_source, url).splits["train"].shards
    bad = storage.join(url, shards[2].name)
    if how == "missing":
        storage.remove(bad)
    elif how == "truncated":
        storage.write_bytes(bad, storage.read_bytes(bad)[: load_index(url, shards[2]).span(5, 6)[0]])
    else:
        storage.write_bytes(bad, bytes(len(storage.read_bytes(bad))))
    words = {"missing": "not found", "truncated": "is shorter than", "wrong": "not the one that was packed"}[how]
    with pytest.raises(DatasetError, match=f"{bad}: .*{words}") as error:
        stream(url, QUICK)
    assert "\n" not in str(error.value)
    skipped = Skipped()
    batches = stream(url, ReadOptions(retry=QUICK.retry, on_bad_shard="skip"), skipped)
    keys = [key for batch in batches for key in batch.keys]
    assert len(keys) == 40 and len(set(keys)) == 32
    assert skipped.samples == 8 and all(reason.startswith(bad) for reason in skipped.shards)


def test_no_credentials_in_what_is_said(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    secret = server["AWS_SECRET_ACCESS_KEY"]
    said = []
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONGWRONGWRONG1")
    for action in (
        lambda: storage.read_bytes(f"{URL}/manifest.json"),
        lambda: storage.read_range(f"{URL}/train-000000.tar", 0, 10, QUICK.retry),
        lambda: storage.write_bytes(f"{URL}/x", b"1"),
        lambda: load_manifest(URL),
    ):
        from s3fs import S3FileSystem

        S3FileSystem.clear_instance_cache()
        with pytest.raises(StorageError) as error:
            action()
        said.append(str(error.value))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{secret}@127.0.0.1:1")
    with pytest.raises(StorageError) as error:
        storage.exists("s3://bucket/elsewhere")
    said.append(str(error.value))
    with pytest.raises(StorageError, match="credentials do not belong in a URL") as error:
        storage.exists(f"s3://key:{secret}@bucket/x")
    said.append(str(error.value))
    assert not any(secret in text or "AKIAWRONG" in text or "\n" in text for text in said), said
    S3FileSystem.clear_instance_cache()


def test_listing_manifest_and_writing_are_tried_again_too(proxy: Proxy, expected: list[dict[str, Any]]) -> None:
    proxy.other_fault = lambda number, path: Fault(status=(500, 503)[number % 2]) if number % 3 == 0 else None
    assert same(stream(URL, QUICK), expected)
    storage.write_bytes("s3://bucket/new/file", b"content")
    assert storage.read_bytes("s3://bucket/new/file") == b"content"
    assert storage.list_sizes("s3://bucket/new") == {"file": 7} and storage.list_folders("s3://bucket/new") == []
    assert proxy.others > 9


# The cache ------------------------------------------------------------------------------------------------------------


def test_the_cache_asks_once_for_a_shard_and_heals(
    proxy: Proxy, expected: list[dict[str, Any]], packed: tuple[str, Manifest], tmp_path: Path
) -> None:
    options = ReadOptions(retry=QUICK.retry, cache=ShardCache(tmp_path / "cache", 10**9))
    for _ in range(2):
        assert same(stream(URL, options), expected)
    shards = packed[1].splits["train"].shards
    asked = [entry for entry in proxy.ranges if entry[0].endswith(".tar")]
    assert sorted(asked) == sorted((f"/bucket/birds/{s.name}", 0, s.size - 1) for s in shards)
    damaged = tmp_path / "cache" / f"{shards[3].sha256}.tar"
    damaged.write_bytes(bytes(shards[3].size))
    assert same(stream(URL, options), expected)
    assert sum(entry[0].endswith(".tar") for entry in proxy.ranges) == 7
    assert damaged.read_bytes() != bytes(shards[3].size)


def test_a_damaged_shard_costs_its_damaged_sample_alone_with_a_cache_too(
    proxy: Proxy, cub_source: Path, tmp_path: Path
) -> None:
    url = "s3://bucket/flipped"
    shard = other_dataset(cub_source, url).splits["train"].shards[1]
    content = bytearray(storage.read_bytes(storage.join(url, shard.name)))
    content[load_index(url, shard).span(3, 4)[0] + 1700] ^= 1
    storage.write_bytes(storage.join(url, shard.name), bytes(content))
    skipped = Skipped()
    cache = ShardCache(tmp_path, 10**9)
    stream(url, ReadOptions(retry=QUICK.retry, on_bad_shard="skip", cache=cache), skipped)
    assert skipped.samples == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"data.cache_dir=.*file: cannot be used"):
        stream(URL, ReadOptions(retry=QUICK.retry, cache=ShardCache(tmp_path / "file", 10**9)))


def test_the_cache_keeps_to_its_limit_and_the_last_used(
    proxy: Proxy, expected: list[dict[str, Any]], packed: tuple[str, Manifest], tmp_path: Path
) -> None:
    shards = packed[1].splits["train"].shards
    limit = sum(shard.size for shard in shards[:3])
    cache = ShardCache(tmp_path, limit)
    assert same(stream(URL, ReadOptions(retry=QUICK.retry, cache=cache)), expected)
    kept = list(tmp_path.glob("*.tar"))
    assert 0 < sum(path.stat().st_size for path in kept) <= limit
    small = ShardCache(tmp_path / "small", 10)
    assert same(stream(URL, ReadOptions(retry=QUICK.retry, cache=small)), expected)
    assert not (tmp_path / "small").exists()  # nothing fits: read past it
    used = sorted(kept, key=lambda path: path.stat().st_mtime_ns)[0]
    first = next(shard for shard in shards if shard.sha256 == used.stem)
    cache.read(first, 0, 10, lambda: pytest.fail("it is there"))
    another = next(shard for shard in shards if not (tmp_path / f"{shard.sha256}.tar").exists())
    cache.read(another, 0, 10, lambda: storage.read_bytes(f"{URL}/{another.name}"))
    assert used.exists()  # used since, so that another left


def test_many_threads_share_a_cache_and_download_once(
    server: dict[str, str], packed: tuple[str, Manifest], tmp_path: Path
) -> None:
    shard, downloads = packed[1].splits["train"].shards[0], []
    content = storage.read_bytes(f"{URL}/{shard.name}")

    def download() -> bytes:
        downloads.append(os.getpid())
        time.sleep(0.2)
        return content

    found: list[bytes] = []
    cache = ShardCache(tmp_path, 10**9)
    threads = [threading.Thread(target=lambda: found.append(cache.read(shard, 5, 25, download))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [content[5:25]] * 8 and len(downloads) == 1


def test_missing_is_missing_at_once(server: dict[str, str]) -> None:
    began = time.monotonic()
    with pytest.raises(MissingError, match="s3://bucket/nothing: not found"):
        storage.read_range("s3://bucket/nothing", 0, 10)
    assert time.monotonic() - began < 2
