"""What the documents tell people to type: commands that parse, keys and files that exist, code that runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets.packing.command import main as pack
from dmgan.cli.parser import parse
from dmgan.config import AUTO, load_config, presets
from dmgan.runs.run import Run

ROOT = Path(__file__).parents[1]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


# docs/extending.md's commands want a plugin of the reader's: tests/end_to_end/test_extending.py runs them with it.
PAGES = ["README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md") if p.name != "extending.md")]
FULL_OF_COMMANDS = ("README.md", "docs/tutorial.md", "docs/running.md", "docs/drawing.md")
# What a reader puts in, and a value that fits.
PUT_IN = {"$world": "birds-2", "$search": "tables", "$seed": "1", "$precision": "bfloat16", "=N ": "=3 "}
COMMAND = re.compile(r"^ {4,}.*?\b(python -m .*)$", re.MULTILINE)


def commands(text: str) -> Iterator[list[str]]:
    """The command lines of a page's indented blocks, without what follows two spaces, a # or the command itself."""
    joined = re.sub(r" *\\\n\s*", " ", text)
    for name, value in PUT_IN.items():
        joined = joined.replace(name, value)
    for line in COMMAND.findall(joined):
        yield shlex.split(re.split(r"\s{2,}|\s#|\s…|; done| \| | > | &$", line)[0].replace("…", "here"))


def check(words: list[str]) -> None:
    """A command line parses, and what it names is there."""
    module, arguments = words[2], words[3:]
    assert (ROOT / Path(*module.split("."))).with_suffix(".py").is_file(), module
    if module == "dmgan.launch" and arguments != ["[train]"] and "|" not in arguments:
        options = parse(arguments)
        if hasattr(options, "set") and options.command != "serve":
            given = getattr(options, "config", None)
            load_config("small" if given == AUTO else given if given in presets() else None, options.set)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_parses(page: str) -> None:
    found = list(commands((ROOT / page).read_text(encoding="utf-8")))
    assert len(found) > 3 or page not in FULL_OF_COMMANDS
    for words in found:
        check(words)


def test_commands_are_found_wherever_a_line_has_them() -> None:
    page = "    for world in birds-2; do\n        python -m a --set b=$world \\\n          --c\n    done\n"
    page += "\n    ray x -- python -m d; done"
    assert [words[2:] for words in commands(page)] == [["a", "--set", "b=birds-2", "--c"], ["d"]]


def test_a_flag_that_is_gone_would_be_noticed() -> None:
    for wrong in ("python -m dmgan.launch --nonsense", "python -m dmgan.launch --set train.lr=3"):
        with pytest.raises(Exception, match="unknown"):
            check(shlex.split(wrong))


def test_the_tutorials_pictures_are_drawn_and_packed_as_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "draw.py", "exec"), {})
    table = (tmp_path / "generated" / "shapes" / "captions.jsonl").read_text(encoding="utf-8")
    assert f"    {table.splitlines()[0]}\n" in TUTORIAL
    for row in (json.loads(line) for line in table.splitlines()):
        assert (tmp_path / "generated" / "shapes" / row["image"]).is_file()
    (dry,) = [w for w in commands(TUTORIAL) if w[2] == "datasets.pack" and "--dry-run" in w]
    assert pack(dry[3:]) == 0
    said = capsys.readouterr().out
    for line in said.splitlines():
        assert f"    {line}\n" in TUTORIAL, line


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) <= 110
    targets = [target for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README) if "://" not in target]
    assert len(targets) > 20
    for target in targets:
        assert (ROOT / target).exists(), target
    for path in re.findall(r"-k (\S+)", README):
        assert (ROOT / path / "kustomization.yaml").is_file(), path


def test_every_page_is_on_the_first_page_and_in_the_menu() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    menu = (ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert page.name == "index.md" or f"({page.name})" in index, page.name
        assert menu.count(f"- {page.name}\n") == 1, page.name


def test_the_notebook_runs_on_a_run(
    untrained: tuple[Run, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notebook = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"), (
        "is stored as it ran"
    )
    shutil.copytree(untrained[0].url, tmp_path / "quickstart")
    scores = {"images": 40, "features": "damsm", "r_precision": {"mean": 0.1, "std": 0.0}, "fid": 1.0}
    (tmp_path / "quickstart" / "evaluation.json").write_text(json.dumps(scores))
    monkeypatch.setenv("DMGAN_STORAGE", str(tmp_path))
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"cell {number}", "exec"), names)
    said = capsys.readouterr().out
    assert "quickstart: 3 steps, pictures of 64 pixels" in said and "r_precision      {'mean': 0.1" in said
    assert names["attention"].shape[0] == len(names["drawing"].words)
