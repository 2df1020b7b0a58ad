"""Buckets as policies leave them: a prefix alone, no keys, keys that have expired, no right to delete."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cluster.worker.checkpoints import Checkpoints
from cluster.worker.position import Position
from cluster.worker.state import CheckpointState
from datasets import storage
from datasets.storage import StorageError
from datasets.storage.environment import storage_environment
from dmgan.runs.run import Run

EXPIRED = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
FOUND = (
    "<ListBucketResult><Name>bucket</Name><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated>"
    "<Contents><Key>runs/x</Key><Size>1</Size></Contents></ListBucketResult>"
)


class Server(ThreadingHTTPServer):
    kind = "prefix"
    signed: list[bool]  # of each request


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.signed.append("Authorization" in self.headers)
        query = parse_qs(urlsplit(self.path).query)
        if self.server.kind == "expired":
            self.answer(400, EXPIRED)
        elif "list-type" in query:
            allowed = query.get("prefix", [""])[0].startswith("runs/")
            self.answer(*((200, FOUND) if allowed else (403, DENIED)))
        else:
            self.answer(200, "public")

    def answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"0"')
        self.end_headers()
        if self.command != "HEAD":  # an answer to HEAD says no more than its status
            self.wfile.write(body.encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    made = Server(("127.0.0.1", 0), Handler)
    made.signed = []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{made.server_port}",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    yield made
    made.shutdown()


def test_a_policy_may_be_of_a_prefix_alone(server: Server) -> None:
    storage.check_reachable("s3://bucket/runs/mine")
    with pytest.raises(StorageError, match="Access Denied"):
        storage.check_reachable("s3://bucket/elsewhere")


def test_expired_keys_are_said_to_be_expired(server: Server) -> None:
    server.kind = "expired"
    with pytest.raises(StorageError, match="The provided token has expired") as caught:
        storage.exists("s3://bucket/runs/x")
    assert "s3cret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_public_bucket_is_read_without_keys(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage.read_bytes("s3://bucket/runs/x") == b"public" and all(server.signed)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    server.signed.clear()
    assert storage.read_bytes("s3://bucket/runs/x") == b"public" and server.signed and not any(server.signed)


def test_workers_get_what_stands_for_keys_too(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"AWS_ROLE_ARN": "arn:aws:iam::1:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert given.items() <= storage_environment().items()


def test_checkpoints_stay_where_nothing_may_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    checkpoints = Checkpoints(Run(str(tmp_path)), keep=1, warn=said.append)

    def refuse(url: str) -> None:
        raise StorageError(f"{url}: cannot be reached: PermissionError: Access Denied")

    for step in (1, 2):
        if step == 2:
            monkeypatch.setattr(storage, "remove_folder", refuse)
        state = CheckpointState(stage="train", position=Position(1, 2, 30, step=step), seed=0, config={})
        checkpoints.save(state, {"x": lambda: b"x"}, {"generator.safetensors": lambda: b"g"})
        checkpoints.wait()
    assert checkpoints.newest_intact("train") == "train-00000002"
    assert len(said) == 1 and said[0].startswith("old checkpoints stay: ")
