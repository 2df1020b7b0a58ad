from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from datasets.sources.pickles import PickleError, read_plain_pickle


def test_plain_data_is_read_as_it_is() -> None:
    data = [[[1, 2], [3]], {0: "<end>", 1: "a"}, ("x", 2.5, None, True)]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert read_plain_pickle(pickle.dumps(data, protocol), "x") == data


def test_python_2_strings_are_strings() -> None:
    assert read_plain_pickle(b"\x80\x02}q\x00K\x01U\x03abcs.", "x") == {1: "abc"}  # written by Python 2: {1: 'abc'}


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_pickle_is_executed(tmp_path: Path) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(PickleError, match=r"captions.pickle: it refers to .*mkdir"):
            read_plain_pickle(pickle.dumps([1, Runs(tmp_path / "made")], protocol), "captions.pickle")
    assert not (tmp_path / "made").exists()
    with pytest.raises(PickleError, match="OrderedDict"):
        read_plain_pickle(pickle.dumps(collections.OrderedDict(a=1)), "x")


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2])[:-2]])
def test_what_is_no_pickle_is_named(content: bytes) -> None:
    with pytest.raises(PickleError, match=r"x.pickle: not a readable pickle"):
        read_plain_pickle(content, "x.pickle")
