"""`python -m dmgan.launch serve` of two runs: over HTTP, in a browser, while a replica is killed, until Ctrl-C."""

from __future__ import annotations

import base64
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests

from dmgan import TextToImage
from dmgan.runs.run import Run
from tests.cluster.serving import click_through
from tests.cluster.serving.browser import CHROMIUM, browser, page
from tests.cluster.serving.service import TOKEN, Service, pixels, service, vivid_run
from tests.ray_cluster import free_ports

pytestmark = pytest.mark.distributed

CAPTION = "this bird is red with black wings"
SETTINGS = ["serve.replicas=2", "serve.cpus_per_replica=0.25", "serve.batch_size=2", "serve.max_queued=4"]
SETTINGS += ["serve.timeout=600"]  # of a machine that does much else


@pytest.fixture(scope="module")
def folder(untrained: tuple[Run, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, which draw different pictures."""
    runs = tmp_path_factory.mktemp("served")
    for seed, name in enumerate(("one", "two")):
        vivid_run(untrained[0], runs / name, seed, step=seed + 1)
    return runs


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    port, metrics = free_ports(2)
    command = ["-m", "dmgan.launch", "serve", "--storage", str(folder), "--name", "one", "--name", "two"]
    command += [part for setting in SETTINGS for part in ("--set", setting)]
    command += ["--port", str(port), "--metrics-port", str(metrics)]
    environment = {"DMGAN_SERVE_TOKEN": TOKEN, "RAY_AUTH_MODE": "disabled"}
    with service(tmp_path_factory.mktemp("log"), f"http://127.0.0.1:{port}", command, environment) as found:
        found.metrics = f"http://127.0.0.1:{metrics}/metrics"
        yield found


def drawn(folder: Path, name: str, caption: str = CAPTION, **options: int) -> np.ndarray:
    result = TextToImage.from_run(str(folder / name), device="cpu")([caption], **options)
    return np.asarray(result.images[-1]).astype(int)


def test_each_run_draws_its_pictures(served: Service, folder: Path) -> None:
    ours = {name: drawn(folder, name) for name in ("one", "two")}
    assert np.abs(ours["one"] - ours["two"]).max() > 10
    for name, wanted in ours.items():
        for media in ("image/png", "image/webp"):
            answer = served.post(captions=[CAPTION], model=name, accept=media)
            assert (answer.status_code, answer.headers["content-type"]) == (200, media)
            assert np.abs(pixels(answer.content) - wanted).max() <= 1
    answer = served.post(captions=["zyzzyva bird", CAPTION], count=3).json()
    assert (answer["model"], answer["step"], len(answer["images"])) == ("one", 1, 6)
    assert [each["unknown_words"] for each in answer["images"]] == [["zyzzyva"]] * 3 + [[]] * 3
    assert np.abs(pixels(base64.b64decode(answer["images"][3]["image"])) - ours["one"]).max() <= 1


def test_limits_and_the_token_hold(served: Service) -> None:
    assert requests.post(f"{served.address}/v1/images", json={"captions": ["a bird"]}, timeout=60).status_code == 401
    assert served.post(captions=["a bird"] * 65).status_code == 422
    assert served.post(captions=["a bird" * 500_000]).status_code == 413
    assert served.get("/openapi.json").json()["paths"]["/v1/images"]


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine: apt-get install chromium")
def test_the_page_is_clicked_through(served: Service, tmp_path: Path) -> None:
    with browser() as chromium, page(chromium) as tab:
        click_through.open_page(tab, served.address)
        click_through.write_and_draw(tab)
        click_through.see_what_words_did(tab, served)
        click_through.compare_noises_and_models(tab)
        click_through.take_it_away(tab, chromium, served.address, tmp_path)


def test_a_full_queue_is_said_with_when_to_come_again(served: Service) -> None:
    """Two replicas have two requests each, and four wait: of forty at once some are refused, none is lost."""
    start = threading.Barrier(40)

    def ask(seed: int) -> requests.Response:
        start.wait()
        return served.post(captions=[CAPTION], count=16, seed=seed)

    with ThreadPoolExecutor(40) as threads:
        answers = list(threads.map(ask, range(40)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503} and statuses.count(200) >= 8
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert int(refused.headers["retry-after"]) >= 1 and "serve.max_queued" in refused.json()["detail"]
    for answer in answers:
        assert answer.status_code == 503 or len(answer.json()["images"]) == 16


def test_a_killed_replica_gives_no_wrong_picture(served: Service, folder: Path) -> None:
    wanted = [drawn(folder, "two", seed=seed) for seed in range(6)]
    (victim, *others) = served.replicas("two")
    assert len(others) == 1
    killed, stop = threading.Event(), threading.Event()
    after: list[int] = []
    failures: list[str] = []

    def ask(seed: int) -> None:
        while not stop.is_set():
            late = killed.is_set()
            answer = served.post(captions=[CAPTION], seed=seed, model="two", accept="image/png")
            if answer.status_code == 200:
                assert np.abs(pixels(answer.content) - wanted[seed]).max() <= 1
                after.extend([seed] * late)
            else:
                failures.append(f"{answer.status_code} {answer.text}")
                assert "retry-after" in answer.headers

    with ThreadPoolExecutor(6) as threads:
        asking = [threads.submit(ask, seed) for seed in range(6)]
        try:
            time.sleep(0.3)
            victim.kill()
            killed.set()
            wait_until(lambda: set(after) == set(range(6)), "answers after the kill")
            wait_until(lambda: len(served.replicas("two")) == 2, "another replica")
        finally:
            stop.set()
        for each in asking:
            each.result()
    assert len(failures) <= 6, failures  # those in flight, at most


def test_metrics_are_for_prometheus(served: Service) -> None:
    def there() -> bool:
        text = requests.get(served.metrics, timeout=60).text
        lines = [line for line in text.splitlines() if line.startswith("ray_dmgan_serve_requests")]
        return {'model="one"', 'status="200"', 'status="503"'} <= {part for line in lines for part in _labels(line)}

    wait_until(there, "the counters")


def _labels(line: str) -> list[str]:
    return line.partition("{")[2].partition("}")[0].split(",")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_ctrl_c_ends_it_and_leaves_nothing(served: Service) -> None:
    everything = psutil.Process(served.process.pid).children(recursive=True)
    assert len(everything) > 4
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(60) == 0
    # Ray tells of the replica that a test killed.
    lines = [line for line in served.log.read_text().splitlines() if line and not line.startswith("(raylet)")]
    assert lines == [f"one, two: draws at {served.address}; Ctrl-C ends it"]
    wait_until(lambda: not any(_runs(each) for each in everything), "processes that stay", 30)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
