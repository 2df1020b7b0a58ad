"""python -m benchmarks.leases --tries 20: two drivers on one run, in a folder and in a bucket; nothing of them mixes.

In turn, the first driver is killed, frozen for longer than its lease and woken again, or both start at once. Drivers
are processes that hold the run's lease and write checkpoints of theirs, one after the other, as a training does
(`cluster.worker.checkpoints`); each is made of three files with the driver's number. A mixture is a complete checkpoint
whose files are of two drivers, or two drivers that both write after one has taken over. Drivers that see no other's
processes stand for those of other machines. The bucket is the local S3 server's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from cluster.worker.checkpoints import Checkpoints
from datasets import storage
from datasets.storage.local_s3 import local_s3
from dmgan.runs.run import Run

__all__ = ["main"]

ROOT = Path(__file__).parents[1]
LEASE_SECONDS = 4.0
KINDS = ("killed", "frozen", "at once")
DRIVER = """
import sys, time
from cluster.worker.checkpoints import Checkpoints
from cluster.worker.position import Position
from cluster.worker.state import CheckpointState
from datasets.errors import UserError
from datasets.storage import lease
from dmgan.runs.run import Run
run, number, seconds = Run(sys.argv[1]), sys.argv[2], float(sys.argv[3])
lease._machine = lambda: number  # as if each were a machine of its own
try:
    with lease.leased(run.path(".lease.json"), seconds, lambda: None) as token:
        print("held", flush=True)
        checkpoints, step = Checkpoints(run, keep=3, lease=token), 0
        while True:
            step += 1
            state = CheckpointState(stage="train", position=Position(1, 2, 30, step=step), seed=0, config={})
            files = {f"{name}.safetensors": lambda: number.encode() * 1000 for name in "abc"}
            checkpoints.save(state, files, {"generator.safetensors": number.encode})
            checkpoints.wait()
            print(f"wrote {step}", flush=True)
            time.sleep(0.05)
except UserError as error:
    print(f"refused: {error}", flush=True)
"""


class Driver:
    def __init__(self, url: str, number: int) -> None:
        self.number = f"driver-{number}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, url, self.number, str(LEASE_SECONDS)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline().rstrip()).startswith("      "):
            pass  # that it looks whether another is alive
        return line

    def until(self, start: str) -> str:
        while not (line := self.says()).startswith(start) and line:
            pass
        return line

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def tried(url: str, kind: str, rng: random.Random) -> str:
    """What happened, where it is a fault; nothing otherwise."""
    drivers = [Driver(url, 1)]
    try:
        if kind == "at once":
            drivers.append(Driver(url, 2))
            said = sorted(driver.says().partition(":")[0] for driver in drivers)
            if said != ["held", "refused"]:
                return f"of two at once: {said}"
        else:
            drivers[0].until(f"wrote {rng.randrange(2, 6)}")
            time.sleep(rng.uniform(0, 0.2))
            os.kill(drivers[0].process.pid, signal.SIGKILL if kind == "killed" else signal.SIGSTOP)
            drivers.append(Driver(url, 2))
            if drivers[1].says() != "held" or not drivers[1].until("wrote 2"):
                return "the second did not take over"
            if kind == "frozen":
                os.kill(drivers[0].process.pid, signal.SIGCONT)
                if "taken over" not in drivers[0].until("refused"):
                    return "the first went on after the second had taken over"
                drivers[1].until("wrote")
        return _mixture(url)
    finally:
        for driver in drivers:
            driver.end()


def _mixture(url: str) -> str:
    run = Run(url)
    checkpoints = Checkpoints(run)
    for name, state in checkpoints.states("train"):
        whose = {storage.read_bytes(run.path("checkpoints", name, file))[:8] for file in state.files}
        if len(whose) > 1:
            return f"{name} is of {whose}"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=20, help="of each kind, in a folder and in a bucket")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="the result as the last line")
    options = parser.parse_args(arguments)
    rng, counts = random.Random(options.seed), Counter[str]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dmgan-leases-")))
        stack.enter_context(local_s3(folder / "s3"))
        storage.make_folder("s3://bucket")
        for number in range(options.tries):
            for kind in KINDS:
                for place in (str(folder), "s3://bucket"):
                    fault = tried(f"{place}/{kind.replace(' ', '-')}-{number}", kind, rng)
                    where = "bucket" if place.startswith("s3") else "folder"
                    counts.update([f"{kind}, {where}", *(["faults"] if fault else [])])
                    if fault:
                        print(f"{kind}, {where}: {fault}", flush=True)
    for name, count in counts.items():
        print(f"{name}: {count}")
    if options.json:
        print(json.dumps({"tries": options.tries, "seed": options.seed, "faults": counts["faults"]}))
    return 1 if counts["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
