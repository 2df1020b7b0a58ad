"""The S3 server of k8s/s3 as its pod starts it: the arguments and the hook are those of the manifest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from datasets import storage
from tests.k8s.manifests import build, one

pytestmark = pytest.mark.distributed


def test_the_server_has_the_bucket_and_its_objects_when_it_starts_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    if taken & {8080, 8333, 8888, 9333}:
        pytest.skip("needs the ports that a pod has to itself")
    (container,) = one(build("s3"), "StatefulSet")["spec"]["template"]["spec"]["containers"]
    keys = {"AWS_ACCESS_KEY_ID": "a-key-of-the-tests", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests"}
    assert {variable["name"] for variable in container["env"]} == set(keys)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | keys
    environment |= {"PATH": path, "TMPDIR": str(tmp_path_factory.mktemp("pod-tmp"))}
    arguments = [argument.replace("-dir=/data", f"-dir={tmp_path}") for argument in container["args"]]
    hook, probe = (container[name] for name in ("lifecycle", "startupProbe"))
    hook, probe = hook["postStart"]["exec"]["command"], probe["exec"]["command"]
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:8333")
    for start in range(3):  # after nothing, and after SIGKILL twice
        with (tmp_path / "log").open("wb") as log:
            command = [*container["command"], *arguments]
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            subprocess.run(hook, env=environment, check=True, timeout=60, capture_output=True)
            deadline = time.monotonic() + 180
            while subprocess.run(probe, env=environment, check=False, capture_output=True).returncode:
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-3000:]
            fs, path = storage.filesystem("s3://dmgan/runs/one")  # which does not try again
            if start == 0:
                fs.pipe_file(path, b"content")
            assert fs.cat_file(path) == b"content"
        finally:
            server.kill()
            server.wait()
