"""A service as people start it, in a process of its own, and what a test asks of it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
import torch
from PIL import Image

from dmgan.architectures import build_generator
from dmgan.runs.run import Run

ROOT = Path(__file__).parents[3]
TOKEN = "a-token-of-the-tests"
READY_SECONDS = 600  # of a machine that does much else


@dataclass
class Service:
    address: str
    process: subprocess.Popen[bytes]
    log: Path
    metrics: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {TOKEN}"})

    def post(self, path: str = "/v1/images", accept: str = "application/json", **body: object) -> requests.Response:
        headers = {**self.headers, "Accept": accept}
        return requests.post(self.address + path, json=body, headers=headers, timeout=600)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.address + path, headers=self.headers, timeout=600)

    def replicas(self, model: str) -> list[psutil.Process]:
        """The processes that hold a model; Ray names them."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in below if f"model-{model}" in " ".join(_command(each))]


def _command(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline()
        return found
    except psutil.Error:
        return []


def vivid_run(like: Run, url: Path, seed: int, step: int = 3) -> Run:
    """An untrained run of the same model whose pictures differ by their noise, not in shades of grey alone."""
    shutil.copytree(like.url, url)
    run = Run(str(url))
    config = run.read_config()
    torch.manual_seed(seed)
    generator = build_generator(config.model)
    with torch.no_grad():
        for name, weights in generator.named_parameters():
            if "to_image" in name:
                weights.mul_(60)
    run.save_generator(generator, config, step=step, steps=3)
    return run


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@contextmanager
def service(folder: Path, address: str, command: Sequence[str], environment: dict[str, str]) -> Iterator[Service]:
    """`command` of this Python as a process, when it draws at `address`."""
    log = folder / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output
        )
    started = psutil.Process(process.pid)
    everything: list[psutil.Process] = []
    try:
        wait_for(address, process, log)
        everything = started.children(recursive=True)
        yield Service(address, process, log)
    finally:
        everything = everything or (started.children(recursive=True) if process.poll() is None else [])
        process.kill()
        process.wait()
        for each in everything:
            if each.is_running():
                each.kill()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if requests.get(f"{address}/healthz", timeout=60).ok:
                return
        except requests.RequestException:
            pass
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)


def problem(answer: requests.Response) -> Any:
    return answer.json()["detail"]
