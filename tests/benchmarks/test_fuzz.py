from __future__ import annotations

import json

import pytest

from benchmarks import fuzz


def test_damaged_inputs_are_used_rightly_or_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--inputs", "440", "--seed", "7", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["accepted"] + result["refused"] == 440 and result["accepted"] > 40


def test_what_goes_wrong_is_found(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(root: object) -> None:
        raise KeyError("samples")

    monkeypatch.setitem(fuzz.SURFACES, "weights", fuzz.Surface("weights.pth", careless))
    with pytest.raises(AssertionError, match="weights"):
        fuzz.main(["--inputs", "1"])
