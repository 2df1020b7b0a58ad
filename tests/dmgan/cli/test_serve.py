"""What `serve` refuses: one line, exit code 2, before Ray starts."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from pathlib import Path

import pytest
import ray

from dmgan.runs.run import Run
from tests.dmgan.cli.test_launch import refused
from tests.ray_cluster import free_ports


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DMGAN_SERVE_TOKEN", "DMGAN_SERVE_TOKEN_FILE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def arguments(run: Run, *others: str) -> list[str]:
    folder, name = run.url.rsplit("/", 1)
    port, metrics = map(str, free_ports(2))
    return ["serve", "--storage", folder, "--name", name, "--port", port, "--metrics-port", metrics, *others]


@pytest.mark.parametrize(
    ("others", "line"),
    [
        (["--name", "nobody"], "nobody: no run is there"),
        (["--name", "untrained"], "--name untrained: is given twice"),
        (["--name", "../x"], "--name '../x': expected a name"),
        (["--host", "0.0.0.0"], "--host 0.0.0.0: other machines may reach it, and there is no token; set DMGAN_SERVE_"),
        (["--set", "train.max_steps=3"], "--set train.max_steps=3: expected a key of serve"),
        (["--set", "serve.batchsize=3"], "serve.batchsize: unknown key; did you mean serve.batch_size?"),
        (["--set", "serve.replicas=0"], "serve.replicas=0: input should be greater than 0"),
        (["--workers", "2"], "--workers: goes with"),
        (["--config", "cub"], "--config: goes with"),
        (["--port", "many"], "argument --port: invalid int value: 'many'"),
        (["--port", "70000"], "--port 70000: cannot listen at 127.0.0.1"),
    ],
)
def test_mistakes(
    others: list[str], line: str, untrained: tuple[Run, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(untrained[0], *others)
    if "--port" in others:
        del given[given.index("--port") : given.index("--port") + 2]
    assert line in refused(given, capsys)
    assert not ray.is_initialized()


def test_a_taken_port(untrained: tuple[Run, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    given = arguments(untrained[0])
    for flag in ("--port", "--metrics-port"):
        port = int(given[given.index(flag) + 1])
        with socket.create_server(("127.0.0.1", port)):
            line = refused(given, capsys)
        assert line == f"{flag} {port}: cannot listen at 127.0.0.1: Address already in use; expected a free port"


def test_runs_that_cannot_draw(
    untrained: tuple[Run, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(str(tmp_path / "run"))
    shutil.copytree(untrained[0].url, run.url)
    weights = tmp_path / "run" / "generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "generator.safetensors: damaged or not of this model" in refused(arguments(run), capsys)
    weights.unlink()
    assert "generator.safetensors: not found; run `python -m dmgan.launch train` first" in refused(
        arguments(run), capsys
    )
    (tmp_path / "run" / "sweep.json").write_text("{}")
    assert "holds a sweep" in refused(arguments(run), capsys)
    assert not ray.is_initialized()


def test_a_missing_extra(
    untrained: tuple[Run, list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastapi" else find(name))
    line = refused(arguments(untrained[0]), capsys)
    assert line.startswith("serve: fastapi: not installed for ") and "'.[serve]'" in line
