"""The driver as a submitted Ray job (`ray job submit -- python -m dmgan.launch …`). Imports nothing heavy.

Ray runs a job's entrypoint in a folder that it deletes, and ends it with SIGTERM to every process below it, then, three
seconds later unless RAY_JOB_STOP_WAIT_TIME_S says otherwise, with SIGKILL. A checkpoint may take longer.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["INSTALL", "is_submitted", "outlive_the_job", "output_folder", "warn_of_credentials"]

# What to do where a node has not our dependencies.
INSTALL = "the nodes of a Ray cluster need the image of k8s/Dockerfile, or `pip install -c constraints.txt torch .`"
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # which Ray sets in the environment of an entrypoint alone
_SECRET = ("SECRET", "TOKEN", "PASSWORD", "CREDENTIAL", "API_KEY")


def is_submitted() -> bool:
    """Whether Ray's job supervisor started this process."""
    return _JOB_CONFIG in os.environ


def output_folder(folder: str) -> str:
    """A folder for output: a relative one is below the home directory where Ray would delete the working directory."""
    path = Path(folder).expanduser()
    if not is_submitted() or "://" in folder or path.is_absolute():
        return folder
    where = str(Path.home() / path)
    print(f"      {folder} is kept as {where} on this node: Ray deletes a job's working directory", flush=True)
    return where


def warn_of_credentials() -> None:
    """Say it where credentials came by the job's runtime environment, which Ray logs and shows to all."""
    runtime = json.loads(os.environ.get(_JOB_CONFIG, "{}")).get("runtime_env") or {}
    for name in runtime.get("env_vars") or {}:
        if any(word in name.upper() for word in _SECRET):
            print(
                f"dmgan: warning: {name}: is in the job's runtime environment, which Ray logs and its dashboard shows; "
                "set it where the cluster's nodes are started",
                file=sys.stderr,
            )


def outlive_the_job(main: Callable[[], int]) -> int:
    """Run `main` in a process that Ray does not kill with the job; returns its exit code.

    This process stays the job: it hands SIGTERM and SIGINT on and ends when `main` has. If it is killed before, `main`
    gets SIGHUP and goes on as long as it needs (training: `checkpoint.grace_seconds`).
    """
    told, tell = os.pipe()  # by main: its process, then its exit code
    gone, held = os.pipe()  # closed when this process is gone
    if between := os.fork():
        os.close(tell)
        os.close(gone)
        os.waitpid(between, 0)
        return _stand_for(told)
    os.close(told)
    os.close(held)
    os.setsid()
    if os.fork():
        os._exit(0)  # main is nobody's child now, so it is not among the job's processes
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's: here it says that the job is gone
    os.write(tell, f"{os.getpid()}\n".encode())
    threading.Thread(target=_watch, args=(gone,), daemon=True).start()
    code = 1
    try:
        code = main()
    except SystemExit as error:  # of argparse
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    finally:
        with suppress(BrokenPipeError):  # nobody is left to be told
            os.write(tell, f"{code}\n".encode())
    return code


def _watch(gone: int) -> None:
    os.read(gone, 1)
    os.kill(os.getpid(), signal.SIGHUP)


def _stand_for(told: int) -> int:
    """Wait for the process at the other end; the exit code it tells, or that of having been killed."""
    with os.fdopen(told) as lines:
        driver = int(lines.readline())
        received: list[int] = []

        def hand_on(number: int, frame: object) -> None:
            received.append(number)
            with suppress(ProcessLookupError):  # it has ended and is about to say how
                os.kill(driver, number)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, hand_on)
        code = lines.readline()
    if code:
        return int(code)
    print("dmgan: the driver was killed; the same command goes on from the last checkpoint", file=sys.stderr)
    return 128 + (received[0] if received else signal.SIGKILL)
