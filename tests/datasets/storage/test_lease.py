"""Two writers of one run: one holds it, the other is refused or takes over, and they never mix."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets import storage
from datasets.storage.conditional import read_version, write_if
from datasets.storage.lease import LeaseError, leased
from datasets.storage.local_s3 import local_s3

ROOT = Path(__file__).parents[3]
SECONDS = 5.0  # of which a third passes between renewals, on a busy machine more
# Holds the lease argv[1] for argv[2] seconds and says what became of it, until it is told to end.
WRITER = """
import sys
from datasets.errors import UserError
from datasets.storage.lease import leased
lost = []
try:
    with leased(sys.argv[1], float(sys.argv[2]), lambda: print("lost", flush=True)) as token:
        print("held", flush=True)
        for line in sys.stdin:
            token.check()
            print("wrote", flush=True)
    print("over", flush=True)
except UserError as error:
    print(f"refused: {error}", flush=True)
"""


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.distributed)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "run" / ".lease.json")
        return
    with local_s3(tmp_path / "s3"):
        storage.make_folder("s3://bucket")
        yield "s3://bucket/run/.lease.json"


class Writer:
    def __init__(self, url: str, elsewhere: bool = False, seconds: float = SECONDS) -> None:
        """`elsewhere`: as on another machine, whose processes nobody here can look at."""
        code = WRITER
        if elsewhere:
            code = "from datasets.storage import lease\nlease._machine = lambda: 'another'\n" + WRITER
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, url, str(seconds)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline().rstrip()).startswith("      "):
            pass  # that it looks
        return line

    def write(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_second_is_refused_with_who_and_since_when(url: str, elsewhere: bool) -> None:
    first = Writer(url, elsewhere)
    assert first.says() == "held"
    second = Writer(url)
    said = second.says()
    assert (
        said.startswith(f"refused: {url.removesuffix('/.lease.json')}: ")
        and f"process {first.process.pid}, since 20" in said
    )
    first.write()
    assert first.says() == "wrote"
    first.end()
    assert first.says() == "over"
    with leased(url, SECONDS, lambda: None):  # it was given back
        assert not elsewhere or json.loads(read_version(url)[0])["holder"]  # type: ignore[index]
    assert read_version(url) is None


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_killed_holder_is_followed(url: str, elsewhere: bool) -> None:
    first = Writer(url, elsewhere, seconds=SECONDS if elsewhere else 600)
    assert first.says() == "held"
    first.process.kill()
    first.process.wait()
    second = Writer(url)  # at once on this machine, when the lease is over on another
    assert second.says() == "held"
    second.end()


def test_a_frozen_holder_is_followed_and_writes_no_more(url: str) -> None:
    first = Writer(url, elsewhere=True)
    assert first.says() == "held"
    os.kill(first.process.pid, signal.SIGSTOP)
    second = Writer(url)
    assert second.says() == "held"
    first.write()
    os.kill(first.process.pid, signal.SIGCONT)
    said = {first.says(), first.says()}
    assert any("taken over by" in line and f"process {second.process.pid}, since" in line for line in said)
    assert "wrote" not in said
    second.write()
    assert second.says() == "wrote"
    second.end()


def test_of_several_at_once_one_holds_it(url: str) -> None:
    writers = [Writer(url, elsewhere=bool(i % 2), seconds=30) for i in range(4)]
    said = [writer.says() for writer in writers]
    assert sorted(line.split(":")[0] for line in said) == ["held", "refused", "refused", "refused"]
    for writer in writers:
        writer.end()


def test_a_write_is_of_the_version_that_was_read(url: str) -> None:
    assert read_version(url) is None and not write_if(url, b"x", "1")
    assert write_if(url, b"one", None) and not write_if(url, b"two", None)
    found = read_version(url)
    assert found is not None and found[0] == b"one"
    assert write_if(url, b"two", found[1]) and not write_if(url, b"three", found[1])
    assert storage.read_bytes(url) == b"two"


def test_a_damaged_lease_is_nobodys(tmp_path: Path) -> None:
    url = str(tmp_path / ".lease.json")
    for text in ("", "{", "[]", '{"id": 3}'):
        Path(url).write_text(text)
        began = time.monotonic()
        with leased(url, 60.0, lambda: None):
            assert time.monotonic() - began < 30
    storage.write_bytes(url, b"{}")


def test_whoever_lost_it_is_told(tmp_path: Path) -> None:
    url, told = str(tmp_path / ".lease.json"), []
    with pytest.raises(LeaseError, match="taken over"), leased(url, 0.3, lambda: told.append(1)) as token:
        storage.write_bytes(url, b"{}")
        while not told:
            time.sleep(0.01)
        with pytest.raises(LeaseError):
            token.check()
