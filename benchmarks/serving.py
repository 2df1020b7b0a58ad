"""python -m benchmarks.serving: requests/s of the service under load, against the model alone on the same cores.

The service is `python -m dmgan.launch serve` in processes of its own; clients are aiohttp's, in one more process, and
each asks for one PNG after another. In turn, `--rounds` times, for `--seconds` each; the median counts.

    alone       the text encoder and the generator in batches of `--batch`, as many threads as cores: no pictures as
                files, no HTTP
    N clients   requests/s, seconds of which half and 99 of 100 are answered, and the share of `alone`

An answer 503 is a refusal, after which a client waits as it is told; what has no answer at all is lost. At the end a
replica is killed under the load of 8 clients: every picture that comes is compared with the model's own.

Without `--run` the model is an untrained one of the quickstart's size: it takes as long.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import psutil
import requests
import torch
from PIL import Image

from datasets.sources import birds
from datasets.vocabulary import Vocabulary, tokenize
from dmgan import Request, TextToImage
from dmgan.architectures import build_generator
from dmgan.config import load_config
from dmgan.model.build import build_encoders
from dmgan.runs.run import Run

ROOT = Path(__file__).parents[1]
CAPTIONS = [
    f"this bird is {body} with {wings} wings" for body in ("red", "blue", "brown") for wings in ("black", "white")
]
SEEDS = 64  # distinct requests a caption
START_SECONDS = 600


@dataclass
class Load:
    """What clients saw."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)  # of pictures, in seconds
    refused: int = 0  # 503 and 504
    lost: int = 0  # no answer, or another one
    wrong: int = 0  # another picture than the model's

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds


def untrained(folder: Path) -> Run:
    """A run of the quickstart's size with random weights."""
    config = load_config("quickstart")
    rng = np.random.default_rng(0)
    words = {
        word for species in birds.make_species()[0] for text in birds.captions(species, rng) for word in tokenize(text)
    }
    vocabulary = Vocabulary.of(words)
    torch.manual_seed(0)
    run = Run(str(folder / "run"))
    run.save_encoders(build_encoders(config.model, len(vocabulary)), vocabulary)
    generator = build_generator(config.model)
    with torch.no_grad():
        for name, weights in generator.named_parameters():
            if "to_image" in name:  # else pictures are grey, and a wrong one like any other
                weights.mul_(60)
    run.save_generator(generator, config, step=0, steps=1)
    run.write_config(config)
    return run


def alone(model: TextToImage, batch: int, seconds: float) -> float:
    """Images/s of the networks alone."""
    config = model.config.model
    captions = [CAPTIONS[i % len(CAPTIONS)] for i in range(batch)]
    noise, eps = torch.randn(batch, config.noise_dim), torch.randn(batch, config.condition_dim)
    model.render(model.encode(captions), noise, eps)
    started, images = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        model.render(model.encode(captions), noise, eps)
        images += batch
    return images / (time.perf_counter() - started)


@contextmanager
def service(run: Run, settings: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Its address, and its process."""
    port, metrics = _free_ports(2)
    folder, name = run.url.rsplit("/", 1)
    command = [sys.executable, "-m", "dmgan.launch", "serve", "--storage", folder, "--name", name]
    command += ["--port", str(port), "--metrics-port", str(metrics)]
    command += [part for setting in settings for part in ("--set", setting)]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("RAY_ADDRESS", "DMGAN_SERVE"))
    }
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
    try:
        while not _healthy(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the service does not start")
            time.sleep(0.2)
        yield address, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _healthy(address: str) -> bool:
    try:
        return requests.get(f"{address}/healthz", timeout=60).ok
    except requests.RequestException:
        return False


def load(address: str, clients: int, seconds: float, expected: dict[tuple[str, int], np.ndarray] | None = None) -> Load:
    """What `clients` at once see for so long; pictures are compared with those `expected`, where they are given."""
    return asyncio.run(_load(address, clients, seconds, expected or {}))


async def _load(address: str, clients: int, seconds: float, expected: dict[tuple[str, int], np.ndarray]) -> Load:
    seen, started = Load(), time.perf_counter()
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        ends = started + seconds
        await asyncio.gather(*(_client(session, address, i, ends, seen, expected) for i in range(clients)))
    seen.seconds = time.perf_counter() - started
    return seen


async def _client(
    session: aiohttp.ClientSession,
    address: str,
    number: int,
    ends: float,
    seen: Load,
    expected: dict[tuple[str, int], np.ndarray],
) -> None:
    turn = number
    while (now := time.perf_counter()) < ends:
        caption, seed = CAPTIONS[turn % len(CAPTIONS)], turn % SEEDS
        turn += 1
        body = {"captions": [caption], "seed": seed}
        try:
            headers = {"Accept": "image/png"}
            async with session.post(f"{address}/v1/images", json=body, headers=headers) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            seen.lost += 1
            continue
        if answer.status == 200:
            seen.latencies.append(time.perf_counter() - now)
            if expected and np.abs(_pixels(content) - expected[caption, seed]).max() > 1:
                seen.wrong += 1
        elif answer.status in (503, 504):
            seen.refused += 1
            await asyncio.sleep(float(answer.headers.get("Retry-After", 0)))
        else:
            seen.lost += 1


def _pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def kill(model: TextToImage, address: str, pid: int, seconds: float) -> Load:
    """Under 8 clients, a third into the time, a replica is killed with SIGKILL."""
    requested = [Request(caption, seed=seed) for caption in CAPTIONS for seed in range(SEEDS)]
    pictures = (np.asarray(drawing.image).astype(int) for drawing in model.draw(requested))
    expected = {(each.caption, each.seed): picture for each, picture in zip(requested, pictures, strict=True)}

    async def both() -> Load:
        asked = asyncio.create_task(_load(address, 8, seconds, expected))
        await asyncio.sleep(seconds / 3)
        below = psutil.Process(pid).children(recursive=True)
        next(each for each in below if "model-" in " ".join(each.cmdline())).kill()
        return await asked

    return asyncio.run(both())


def measure(options: argparse.Namespace, run: Run) -> dict[str, object]:
    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)
    model = TextToImage.from_run(run.url, device="cpu")
    settings = [f"serve.replicas={options.replicas}", f"serve.batch_size={options.batch}", *options.set]
    bare: list[float] = []
    loads: dict[int, list[Load]] = {clients: [] for clients in options.clients}
    with service(run, settings) as (address, pid):
        for clients in options.clients:  # connections and caches, once
            load(address, clients, 1.0)
        for _ in range(options.rounds):
            bare.append(alone(model, options.batch, options.seconds))
            for clients in options.clients:
                loads[clients].append(load(address, clients, options.seconds))
        killed = kill(model, address, pid, max(15.0, options.seconds))
    median = statistics.median(bare)
    print(f"alone: {median:.1f} images/s in batches of {options.batch} on {cores} threads")
    result: dict[str, object] = {"alone": median, "batch": options.batch, "replicas": options.replicas, "cores": cores}
    result["clients"] = {str(clients): _summary(clients, found, bare) for clients, found in loads.items()}
    result["killed"] = {each: getattr(killed, each) for each in ("refused", "lost", "wrong")} | {
        "answered": len(killed.latencies)
    }
    print(f"a replica killed under 8 clients: {result['killed']}")
    return result


def _summary(clients: int, found: Sequence[Load], bare: Sequence[float]) -> dict[str, float]:
    seconds = np.array([latency for each in found for latency in each.latencies])
    summary = {
        "requests_per_second": statistics.median(each.rate for each in found),
        "share": statistics.median(each.rate / rate for each, rate in zip(found, bare, strict=True)),
        "p50": float(np.quantile(seconds, 0.5)),
        "p99": float(np.quantile(seconds, 0.99)),
        "refused": float(sum(each.refused for each in found)),
        "lost": float(sum(each.lost for each in found)),
    }
    print(
        f"{clients:3d} clients: {summary['requests_per_second']:6.1f} requests/s, {summary['share']:.0%} of it, "
        f"p50 {1000 * summary['p50']:.0f} ms, p99 {1000 * summary['p99']:.0f} ms, {summary['refused']:.0f} refused, "
        f"{summary['lost']:.0f} lost"
    )
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, metavar="DIR", help="a trained run (default: an untrained one)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], metavar="N")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of serve; repeatable")
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(str(options.run.resolve())) if options.run else untrained(Path(folder))
        result = measure(options, run)
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
