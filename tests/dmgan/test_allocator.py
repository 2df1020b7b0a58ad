"""Memory that tensors free is kept, unless the environment says otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from dmgan.allocator import keeping_freed_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
_FAULTS = """
import resource, sys, threading, torch
from dmgan.allocator import keep_freed_memory

def pages(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        torch.ones(20_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def look():
    pages(40)  # what is kept has its final extent after some of them
    print(pages(5))

if sys.argv[1] == "keep":
    print(keep_freed_memory())
if sys.argv[2] == "thread":
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
else:
    look()
"""


def run(keep: bool, where: str, **variables: str) -> list[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))} | variables
    command = [sys.executable, "-c", _FAULTS, "keep" if keep else "", where]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout.split()


def test_pages_are_not_got_anew_for_every_tensor() -> None:
    kept, later = run(True, "main thread")
    (fresh,) = run(False, "main thread")
    assert kept == "True" and int(later) < 1000 < 50_000 < int(fresh)


def test_processes_started_for_it_do_so_in_their_threads() -> None:
    (later,) = run(False, "thread", **keeping_freed_memory())
    (fresh,) = run(False, "thread")
    assert int(later) < 1000 < 50_000 < int(fresh)


def test_what_the_environment_has_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"MALLOC_TRIM_THRESHOLD_": "131072"}
    kept, later = run(True, "main thread", **chosen)
    assert kept == "False" and int(later) > 50_000
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072")
    assert keeping_freed_memory() == {}
