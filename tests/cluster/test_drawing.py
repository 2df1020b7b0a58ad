from __future__ import annotations

import threading
import time
from pathlib import Path

import psutil
import pytest

from datasets import storage
from datasets.manifest import Manifest
from datasets.storage.local_s3 import local_s3
from dmgan.launch import main
from dmgan.runs.run import Run


@pytest.mark.distributed
def test_two_workers_of_which_one_is_killed_write_into_a_bucket_what_one_process_does(
    untrained: tuple[Run, list[str]],
    packed: tuple[str, Manifest],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    folder, name = untrained[0].url.rsplit("/", 1)
    arguments = ["generate", "--storage", folder, "--name", name, "--caption", "this bird is red"]
    arguments += ["--caption", "a blue bird", "--count", "40", "--batch-size", "2", "--shards", "8"]
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    one = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert len([tar for tar in one if tar.endswith(".tar")]) == 8 and "grid.png" in one
    with local_s3(tmp_path / "s3"):
        killed = KilledWhenItHasDrawn("s3://bucket/two")
        killed.start()
        assert main([*arguments, "--out", "s3://bucket/two", "--workers", "2"]) == 0
        killed.join()
        assert killed.was_there
        names = storage.list_sizes("s3://bucket/two")
        assert {name: storage.read_bytes(f"s3://bucket/two/{name}") for name in names} == one
    assert capsys.readouterr().out.count("80 images in ") == 2


class KilledWhenItHasDrawn(threading.Thread):
    """Kills one of the actors that draw when the first shard is there."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self.was_there = url, False

    def run(self) -> None:
        while not any(name.endswith(".tar") for name in storage.list_sizes(self._url)):
            time.sleep(0.05)
        below = psutil.Process().children(recursive=True)
        drawers = [process for process in below if "_Drawer" in " ".join(process.cmdline())]
        if drawers:
            drawers[0].kill()
            self.was_there = True
