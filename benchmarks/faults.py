"""python -m benchmarks.faults --kills N: runs killed with SIGKILL at random moments, against undisturbed ones.

Each run trains a small model on two workers; its worker, its driver or both are killed again and again, while they
start, between and within steps, while a checkpoint is made and while it is written. A killed driver is started again
with the same command. A run survives if it comes to its end, and is identical if its generator.safetensors then is, bit
by bit, that of a run nobody disturbed. Prints a line a run and the sums; with `--json` those again as the last line.
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
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.data import photographs
from datasets.packing.pack import PackOptions, pack
from datasets.sources.records import Source, records_of

ROOT = Path(__file__).parents[1]
KILLS_A_RUN = 10
SMALL = [
    "model.word_dim=16",
    "model.image_dim=4",
    "model.memory_dim=8",
    "model.condition_dim=8",
    "model.noise_dim=8",
    "model.discriminator_width=8",
    "pretrain.max_steps=4",
    "pretrain.batch_size=6",
    "train.batch_size=4",
]
SETTINGS = [
    *SMALL,
    "data.draw_birds=false",
    "train.max_failures=1000",
    "train.sample_every=100000",
    "checkpoint.every_steps=5",
    "evaluate.enabled=false",
]
TARGETS = ("worker", "worker", "worker", "driver", "driver and workers")


def dataset(folder: Path) -> str:
    """48 training and 16 test images of 64 pixels."""
    drawn = records_of(photographs(folder / "photos", 64))
    records = [replace(record, split="test" if i % 4 == 0 else "train") for i, record in enumerate(drawn)]
    pack(
        Source("faults", records),
        str(folder / "data"),
        PackOptions(resolution=64, shard_samples=10, processes=1),
    )
    return str(folder / "data")


def command(storage: Path, name: str, url: str, stage: int, steps: int) -> list[str]:
    sets = [*SETTINGS, f"data.url={url}", f"deepspeed.zero_stage={stage}", f"train.max_steps={steps}"]
    start = [sys.executable, "-m", "dmgan.launch", "--storage", str(storage), "--name", name]
    return start + [part for assignment in sets for part in ("--set", assignment)]


class Job:
    """The command of the run in `folder`, started as often as it is killed."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.folder, self._command = folder, list(command)
        self._log = folder.parent / f"{folder.name}.log"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        # A run's own S3 server, if it wants one, has keys of its own.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        return self.process

    def checkpoints(self) -> list[str]:
        return sorted(path.parent.name for path in (self.folder / "checkpoints").glob("train-*/state.json"))

    def kill(self, target: str, rng: random.Random) -> bool:
        """Whether there was anything to kill."""
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.process.pid).children(recursive=True)
            workers = [p for p in below if _is_worker(p)]
            if target == "worker":
                if workers:
                    rng.choice(workers).kill()
                return bool(workers)
            self.process.kill()
            self.process.wait()
            for process in below if target != "driver" else []:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return True
        return False

    def result(self) -> bytes:
        return (self.folder / "generator.safetensors").read_bytes()

    def log(self) -> str:
        return self._log.read_text(errors="replace")


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return "RayTrainWorker" in " ".join(process.cmdline())
    return False


def disturb(job: Job, kills: int, rng: random.Random) -> tuple[int, bool]:
    """Kill up to `kills` times until the run is over; how often that was, and whether the run came to its end."""
    done = 0
    while True:
        if done < kills and _wait_for_a_moment(job, rng):
            target = rng.choice(TARGETS)
            reached = (job.checkpoints() or ["none"])[-1]
            if job.process.poll() is None and job.kill(target, rng):
                done += 1
                print(f"kill {done}: {target}; newest checkpoint {reached}", flush=True)
                if target != "worker":
                    job.start()
            continue
        code = job.process.wait()
        if code != 0:
            print(f"ended with exit code {code}:\n{job.log()[-2000:]}", flush=True)
        return done, code == 0


def _wait_for_a_moment(job: Job, rng: random.Random) -> bool:
    """Until some moment of the start, or (more often) of the training; False if the run was over before."""
    deadline = time.monotonic() + rng.uniform(0, 15)
    if rng.random() < 0.7:
        before = set(job.checkpoints())
        deadline = time.monotonic() + 300
        while job.process.poll() is None and set(job.checkpoints()) <= before and time.monotonic() < deadline:
            time.sleep(0.02)
        deadline = time.monotonic() + rng.uniform(0, 2)
    while job.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    return job.process.poll() is None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=300, help="of each run")
    parser.add_argument("--zero-stages", type=int, nargs="+", default=[1, 3], help="the runs take turns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="the result as the last line")
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    undisturbed: dict[int, bytes] = {}
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="dmgan-faults-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        url = dataset(folder)
        while counts["kills"] < options.kills:
            stage = options.zero_stages[counts["runs"] % len(options.zero_stages)]
            if stage not in undisturbed:
                job = Job(
                    command(folder, f"undisturbed-{stage}", url, stage, options.steps), folder / f"undisturbed-{stage}"
                )
                assert disturb(job, 0, rng)[1], job.log()
                undisturbed[stage] = job.result()
            name = f"disturbed-{counts['runs']}"
            job = Job(command(folder, name, url, stage, options.steps), folder / name)
            kills, survived = disturb(job, min(KILLS_A_RUN, options.kills - counts["kills"]), rng)
            identical = survived and job.result() == undisturbed[stage]
            counts.update(runs=1, kills=kills, survived=survived, identical=identical)
            print(f"run {counts['runs']} (ZeRO {stage}): {kills} kills, survived {survived}, identical {identical}")
            if job.process.poll() is None:
                os.killpg(job.process.pid, signal.SIGKILL)
    print(f"{counts['kills']} kills in {counts['runs']} runs: {counts['survived']} survived, ", end="")
    print(f"{counts['identical']} identical to the undisturbed")
    if options.json:
        print(json.dumps(counts))
    return 0 if counts["identical"] == counts["runs"] else 1


if __name__ == "__main__":
    sys.exit(main())
