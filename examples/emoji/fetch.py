"""python -m examples.emoji.fetch DEST: about 1,600 captioned pictures that nobody of this project made.

Pictures are Microsoft's Fluent Emoji, names and keywords Unicode's CLDR; both come from the npm registry that your npm
is set to (50 MB). DEST, a new folder, is then read by `python -m datasets.pack folder`. Skin tones are left out, and
flags unless --flags is given.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from datasets.errors import run_command
from examples.emoji import packages
from examples.emoji.layout import LaidOut, Sources, lay_out
from examples.emoji.packages import Package, PackageError

__all__ = ["PACKAGES", "fetch", "main"]

# Fixed versions, so that everybody has the same images and splits.
PACKAGES = {
    "pictures": "@lobehub/fluent-emoji-3d@1.1.0",
    "groups": "emoji-datasource@16.0.0",
    "annotations": "cldr-annotations-full@48.2.0",
    "derived": "cldr-annotations-derived-full@48.2.0",
}


def fetch(
    dest: Path,
    language: str = "en",
    flags: bool = False,
    get: Callable[[str, Path], Package] = packages.fetch,
) -> LaidOut:
    """Fetch the packages with `get(NAME@VERSION, FOLDER)` and lay them out at `dest`, which appears when it is whole.

    Raises PackageError.
    """
    try:
        if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
            raise PackageError(f"{dest}: is there already; expected a new or an empty folder")
        dest.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{dest.name}-", dir=dest.parent) as work:
            unpacked = {role: get(name, Path(work) / role) for role, name in PACKAGES.items()}
            whole = Path(work) / "whole"
            whole.mkdir()
            laid_out = lay_out(Sources(**unpacked), whole, language, flags)
            whole.replace(dest)
    except OSError as error:
        raise PackageError(f"{error.filename or dest}: cannot be written ({error.strerror or error})") from error
    return laid_out


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.emoji.fetch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dest", type=Path, metavar="DEST", help="a new folder")
    parser.add_argument("--language", default="en", help="of the captions, CLDR's code: de, fr, ja, … (en)")
    parser.add_argument("--flags", action="store_true", help="keep the flags")
    asked = parser.parse_args(arguments)
    return run_command("examples.emoji.fetch", partial(_carry_out, asked))


def _carry_out(asked: argparse.Namespace) -> int:
    done = fetch(asked.dest, asked.language, asked.flags)
    for reason, number in done.left_out.most_common():
        print(f"left out: {number} {reason}")
    for split in ("train", "test"):
        print(f"{split}: {done.images[split]} images")
    print(f"{done.captions} captions, {len(done.classes)} classes; licences in {asked.dest / 'LICENSES.md'}")
    print(f"laid out in {asked.dest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
