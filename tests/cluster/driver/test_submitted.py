"""A driver that Ray submitted: what it is told when the job is stopped or killed, and where its output goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.driver.submitted import output_folder, warn_of_credentials

ROOT = Path(__file__).parents[3]
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"

# Says its process, waits for a signal, needs half a second after it, and ends with 7.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from cluster.driver.submitted import outlive_the_job
out = Path(sys.argv[1])
def main():
    got = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: got.append(signal.Signals(number).name))
    (out / "process.new").write_text(str(os.getpid()))
    (out / "process.new").rename(out / "process")
    deadline = time.monotonic() + 900
    while not got and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)
    (out / "got").write_text(" ".join(got))
    return 7
sys.exit(outlive_the_job(main))
"""


def until(path: Path) -> str:
    deadline = time.monotonic() + 900
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)
    return path.read_text()


def start(tmp_path: Path) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    job = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT)
    main = psutil.Process(int(until(tmp_path / "process")))
    assert main.pid not in [child.pid for child in psutil.Process(job.pid).children(recursive=True)]
    assert os.getpgid(main.pid) != os.getpgid(job.pid)
    return job, main


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_driver_whose_exit_code_is_the_jobs(number: signal.Signals, tmp_path: Path) -> None:
    job, _ = start(tmp_path)
    job.send_signal(number)
    assert job.wait(900) == 7 and until(tmp_path / "got") == number.name


def test_a_driver_goes_on_when_the_job_is_killed_and_is_told(tmp_path: Path) -> None:
    job, main = start(tmp_path)
    job.kill()
    job.wait()
    assert main.is_running()
    assert until(tmp_path / "got") == "SIGHUP"


def test_a_driver_that_is_killed_ends_the_job(tmp_path: Path) -> None:
    job, main = start(tmp_path)
    main.kill()
    assert job.wait(900) == 128 + signal.SIGKILL


def test_exit_codes_of_the_command_line_are_the_jobs() -> None:
    environment = {**os.environ, SUBMITTED: "{}"}
    for arguments, code in (["--bogus"], 2), (["--help"], 0), (["generate"], 2):
        command = [sys.executable, "-m", "dmgan.launch", *arguments]
        assert subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False).returncode == code


def test_output_is_not_kept_where_ray_deletes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(SUBMITTED, raising=False)
    assert output_folder("./runs") == "./runs"
    monkeypatch.setenv(SUBMITTED, "{}")
    assert output_folder("s3://bucket/runs") == "s3://bucket/runs" and output_folder("/data/runs") == "/data/runs"
    assert not capsys.readouterr().out
    assert output_folder("./runs") == str(tmp_path / "runs")
    assert f"./runs is kept as {tmp_path / 'runs'} on this node" in capsys.readouterr().out


def test_credentials_in_the_runtime_environment_are_named_and_not_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {"AWS_SECRET_ACCESS_KEY": "not for eyes", "NCCL_DEBUG": "INFO"}
    monkeypatch.setenv(SUBMITTED, json.dumps({"runtime_env": {"env_vars": variables}, "metadata": {}}))
    warn_of_credentials()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dmgan: warning: AWS_SECRET_ACCESS_KEY: ") and "not for eyes" not in line
    monkeypatch.setenv(SUBMITTED, json.dumps({"runtime_env": None}))
    warn_of_credentials()
    assert not capsys.readouterr().err
