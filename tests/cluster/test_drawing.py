from __future__ import annotations

from pathlib import Path

import pytest

from datasets.manifest import Manifest
from dmgan.launch import main
from dmgan.runs.run import Run


@pytest.mark.distributed
def test_two_workers_write_what_one_process_does(
    untrained: tuple[Run, list[str]],
    packed: tuple[str, Manifest],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    storage, name = untrained[0].url.rsplit("/", 1)
    arguments = ["generate", "--storage", storage, "--name", name, "--caption", "this bird is red"]
    arguments += ["--caption", "a blue bird", "--count", "9", "--batch-size", "4", "--stages"]
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    assert main([*arguments, "--out", str(tmp_path / "two"), "--workers", "2"]) == 0
    assert capsys.readouterr().out.count("18 images in ") == 2
    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [path.name for path in one] == [path.name for path in two] and len(one) == 18 * 4 + 2
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))
