"""python -m cluster.drain head|worker: before a node of a Ray cluster goes, training ends with a checkpoint.

Kubernetes runs it in a pod that is to be deleted (preStop). On the head it stops every job of the cluster; on a worker
it waits until training there has ended, because a checkpoint needs all workers. Both give up after two minutes.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence

import psutil

__all__ = ["main"]

_SECONDS = 120.0


def _running(part: str) -> bool:
    """Whether a process of this pod has `part` in its command line."""
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and any(part in word for word in process.info["cmdline"] or ()):
            return True
    return False


def _wait(ended: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _SECONDS
    while not ended():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _stop_jobs() -> bool:
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(os.environ.get("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265"))
    jobs = [job.submission_id for job in client.list_jobs() if job.submission_id and not job.status.is_terminal()]
    for job in jobs:
        client.stop_job(job)
    # A driver outlives its job while it writes a checkpoint.
    return _wait(lambda: all(client.get_job_status(job).is_terminal() for job in jobs) and not _running("dmgan.launch"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cluster.drain", description=__doc__)
    parser.add_argument("role", choices=["head", "worker"])
    role = parser.parse_args(arguments).role
    ended = _stop_jobs() if role == "head" else _wait(lambda: not _running("RayTrainWorker"))
    return 0 if ended else 1


if __name__ == "__main__":
    raise SystemExit(main())
