from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from datasets import storage
from datasets.manifest import Manifest
from datasets.storage.local_s3 import LocalS3Error, local_s3
from datasets.stream import open_stream


@pytest.mark.distributed
def test_what_is_uploaded_is_streamed_and_outlives_the_server(packed: tuple[str, Manifest], tmp_path: Path) -> None:
    before = dict(os.environ)
    with local_s3(tmp_path / "s3") as environment:
        assert not storage.exists("s3://bucket/birds/manifest.json")
        storage.upload_folder(Path(packed[0]), "s3://bucket/birds", last="manifest.json")
        from_bucket = list(open_stream("s3://bucket/birds", split="train", batch_size=4, start=3))
        assert all(os.environ[key] == value for key, value in environment.items())
    assert dict(os.environ) == before
    from_folder = list(open_stream(packed[0], split="train", batch_size=4, start=3))
    assert [b.keys for b in from_bucket] == [b.keys for b in from_folder]
    with local_s3(tmp_path / "s3"), local_s3(tmp_path / "another"):
        assert not storage.exists("s3://bucket/birds/manifest.json")
    with local_s3(tmp_path / "s3"):
        assert storage.exists("s3://bucket/birds/manifest.json")
    secrets = {environment["AWS_SECRET_ACCESS_KEY"], environment["AWS_ACCESS_KEY_ID"]}
    log = (tmp_path / "s3" / "server.log").read_text()
    assert not any(secret in log for secret in secrets)
    assert (tmp_path / "s3" / "s3.json").stat().st_mode & 0o077 == 0


ROOT = Path(__file__).parents[3]
# Restarts over data that is there: argv is the folder, the signal that ends the server, how often.
RESTARTS = """
import os, sys
from pathlib import Path
from datasets.storage.local_s3 import local_s3
from datasets import storage
folder, number, times = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
content = os.urandom(5000)
for start in range(times + 1):
    with local_s3(folder):
        fs, path = storage.filesystem("s3://bucket/object")  # which does not try again, as `storage.read_bytes` would
        if start:
            assert fs.cat_file(path) == content, start
            fs.pipe_file(path + str(start), content)
        else:
            fs.mkdir("bucket")
            fs.pipe_file(path, content)
        os.kill(int((folder / "pid").read_text()), number)
"""


@pytest.mark.distributed
def test_the_first_read_after_a_restart_finds_what_was_there(tmp_path: Path) -> None:
    """Ten restarts after SIGTERM and ten after SIGKILL, by four processes at once."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RESTARTS, str(tmp_path / f"{number}-{part}"), str(int(number)), "5"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in (signal.SIGTERM, signal.SIGKILL)
        for part in range(2)
    ]
    said = [process.communicate(timeout=600)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4, "\n".join(said)


def _taking_ports(monkeypatch: pytest.MonkeyPatch, starts: int, option: str) -> list[socket.socket]:
    """Let another process have a port that a server is about to use, as happens between its choice and its use."""
    taken: list[socket.socket] = []
    start = subprocess.Popen.__init__

    def take_first(process: Any, command: list[str], **settings: Any) -> None:
        if len(taken) < starts:
            port = next(part.split("=")[1] for part in command if part.startswith(f"-{option}="))
            taken.append(socket.create_server(("127.0.0.1", int(port))))
        start(process, command, **settings)

    monkeypatch.setattr(subprocess.Popen, "__init__", take_first)
    return taken


@pytest.mark.distributed
@pytest.mark.parametrize("option", ["s3.port", "filer.port.grpc"])
def test_a_port_taken_meanwhile_is_another_one(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = _taking_ports(monkeypatch, 2, option)
    with local_s3(tmp_path):
        fs, _ = storage.filesystem("s3://bucket/object")
        fs.mkdir("bucket")
        fs.pipe_file("bucket/object", b"content")
    assert len(taken) == 2
    with local_s3(tmp_path):
        assert storage.read_bytes("s3://bucket/object") == b"content"


@pytest.mark.distributed
def test_ports_taken_each_time_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = _taking_ports(monkeypatch, 9, "master.port")
    with pytest.raises(
        LocalS3Error, match=r"ended with exit code 255 \(.*: address already in use\); see .*server.log$"
    ):
        local_s3(tmp_path).__enter__()
    assert len(taken) == 3 and not (tmp_path / "pid").exists()


@pytest.mark.distributed
def test_nothing_of_the_server_stays_in_the_machines_folder(tmp_path: Path) -> None:
    def sockets(environment: dict[str, str]) -> list[Path]:
        return list(Path("/tmp").glob(f"seaweedfs-*-{environment['AWS_ENDPOINT_URL'].rsplit(':', 1)[1]}.sock"))

    with local_s3(tmp_path) as environment:
        assert sockets(environment)
    assert not sockets(environment)


@pytest.mark.distributed
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_ends_with_whoever_started_it(number: signal.Signals, tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from datasets.storage.local_s3 import local_s3\n"
    code += "with local_s3(Path(sys.argv[1])): print(flush=True); time.sleep(600)"
    starter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert starter.stdout is not None and starter.stdout.readline() == b"\n"
    server = psutil.Process(int((tmp_path / "pid").read_text()))
    assert os.getpgid(server.pid) == os.getsid(server.pid) == server.pid
    starter.send_signal(number)
    starter.wait()
    gone, _ = psutil.wait_procs([server], timeout=120)
    assert gone


@pytest.mark.distributed
def test_no_port_of_the_server_serves_a_stranger(tmp_path: Path) -> None:
    with local_s3(tmp_path / "s3"):
        storage.make_folder("s3://bucket")
        storage.write_bytes("s3://bucket/mine", b"mine")
        server = psutil.Process(int((tmp_path / "s3" / "pid").read_text()))
        listening = [c.laddr for c in server.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert {address.ip for address in listening} == {"127.0.0.1"} and len(listening) >= 5
        for address in listening:
            for path in ("/bucket/mine", "/buckets/bucket/mine", "/dir/assign", "/1,0163037d6a"):
                assert not serves(address.port, "PUT", path), (address.port, path)
                assert not serves(address.port, "GET", path), (address.port, path)
            assert not speaks_tls(address.port), address.port
        assert storage.read_bytes("s3://bucket/mine") == b"mine" and storage.list_sizes("s3://bucket") == {"mine": 4}
    for name in ("security.toml", "server.key", "s3.json"):
        assert (tmp_path / "s3" / name).stat().st_mode & 0o077 == 0


def serves(port: int, method: str, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body=b"intruder" if method == "PUT" else None)
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def speaks_tls(port: int) -> bool:
    """Whether it answers to one without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 5) as raw,
            context.wrap_socket(raw) as connection,
        ):
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            return bool(connection.recv(100))
    except OSError:  # ssl.SSLError is one
        return False
