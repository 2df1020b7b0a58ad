"""Files about the project: held to their schemas, and to the version."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from dmgan import __version__

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        ("CITATION.cff", "vendor.citation-file-format"),
        (".github/ISSUE_TEMPLATE/bug.yml", "vendor.github-issue-forms"),
        (".github/ISSUE_TEMPLATE/feature.yml", "vendor.github-issue-forms"),
        (".github/ISSUE_TEMPLATE/config.yml", "vendor.github-issue-config"),
    ],
)
def test_what_others_read_is_what_they_expect(file: str, schema: str) -> None:
    found = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(get_builtin_schema(schema)).validate(found)


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[([^\]]+)\]", changes, re.MULTILINE)
    assert released[:2] == ["Unreleased", __version__]
    links = re.findall(r"^\[([^\]]+)\]: ", changes, re.MULTILINE)
    assert released == links
