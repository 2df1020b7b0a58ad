"""Tokens and addresses, and the runs that may be served: each refusal is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.serving.access import ServingError, check_address, read_token
from cluster.serving.runs import served_runs
from dmgan.config import ConfigError
from dmgan.runs.run import Run
from tests.cluster.serving.service import TOKEN


def test_tokens_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMGAN_SERVE_TOKEN", raising=False)
    monkeypatch.delenv("DMGAN_SERVE_TOKEN_FILE", raising=False)
    assert read_token() is None
    for host in ("127.0.0.1", "::1", "localhost", "127.3.2.1"):
        check_address(host, None)
    for host in ("0.0.0.0", "::", "192.168.0.3", "example.org", "127.0.0.1.example.org"):
        with pytest.raises(ServingError, match="other machines may reach it, and there is no token"):
            check_address(host, None)
        check_address(host, TOKEN)
    monkeypatch.setenv("DMGAN_SERVE_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(ServingError, match="token: not found"):
        read_token()
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token() == TOKEN
    for bad in ("", "short", "with a space in it", "ein-schönes-langes-Wort"):
        monkeypatch.setenv("DMGAN_SERVE_TOKEN", bad)
        with pytest.raises(ServingError, match="DMGAN_SERVE_TOKEN: expected at least 16"):
            read_token()


def test_runs_that_cannot_be_served(untrained: tuple[Run, list[str]], tmp_path: Path) -> None:
    folder, name = untrained[0].url.rsplit("/", 1)
    for names, settings, line in (
        ([], [], "--name: not given"),
        ([name, name], [], "is given twice"),
        ([".."], [], "expected a name"),
        (["nobody"], [], "nobody: no run is there"),
        ([name], ["train.batch_size=2"], "expected a key of serve"),
        ([name], ["serve.batchsize=2"], "did you mean serve.batch_size"),
        ([name], ["serve.replicas=4", "serve.max_replicas=2"], "expected at least serve.replicas=4"),
        ([name], ["serve.gpus_per_replica=1.5"], "expected a whole number"),
    ):
        with pytest.raises((ServingError, ConfigError), match=line):
            served_runs(names, folder, settings)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.yaml").write_text("{}")
    with pytest.raises(ConfigError, match=r"begun/vocabulary.json: not found; run `python -m dmgan"):
        served_runs(["begun"], str(tmp_path))
