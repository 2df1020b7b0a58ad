"""Packages of the npm registry, fetched with the user's `npm`: it knows the registry, and checks the checksums."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.errors import UserError

__all__ = ["Package", "PackageError", "fetch", "opened"]


class PackageError(UserError):
    """A package cannot be fetched, or is not laid out as expected; one line that names it."""


@dataclass(frozen=True)
class Package:
    """An unpacked package: `root` is the folder with its package.json."""

    name: str
    version: str
    licence: str  # as package.json has it, an SPDX identifier
    homepage: str  # empty where package.json has none
    root: Path

    def json(self, path: str, *keys: str) -> Any:
        """The value at `keys` of a JSON file of the package. Raises PackageError."""
        where = self.root / path
        value = _read_json(where, f"{self.name}@{self.version}")
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise PackageError(f"{self.name}@{self.version}: {path}: expected the key {key}")
            value = value[key]
        return value

    def licence_text(self) -> str | None:
        """What its LICENSE file says; None where the package has none. Raises PackageError."""
        where = self.root / "LICENSE"
        return _read_text(where, f"{self.name}@{self.version}") if where.exists() else None


def fetch(specification: str, folder: Path) -> Package:
    """NAME@VERSION from the registry that npm is set to, unpacked in `folder`, which is made. Raises PackageError."""
    folder.mkdir(parents=True)
    _npm_pack(specification, folder)
    archives = sorted(folder.glob("*.tgz"))
    if len(archives) != 1:
        raise PackageError(f"npm pack {specification}: expected one .tgz file, found {len(archives)}")
    try:
        with tarfile.open(archives[0]) as archive:
            archive.extractall(folder, filter="data")  # nothing outside the folder
    except (tarfile.TarError, EOFError, OSError) as error:
        raise PackageError(f"{specification}: the archive cannot be unpacked ({error})") from error
    archives[0].unlink()
    return opened(folder / "package")


def opened(root: Path) -> Package:
    """The package that is unpacked in `root`. Raises PackageError."""
    told = _read_json(root / "package.json", root.name)
    values = [told.get(key) for key in ("name", "version", "license")] if isinstance(told, dict) else []
    texts = [value for value in values if isinstance(value, str) and value]
    if len(texts) != 3:
        raise PackageError(f"{root / 'package.json'}: expected the keys name, version and license with texts")
    name, version, licence = texts
    return Package(name, version, licence, str(told.get("homepage", "")), root)


def _npm_pack(specification: str, folder: Path) -> None:
    """Runs in `folder`, where npm leaves the archive."""
    if (npm := shutil.which("npm")) is None:
        raise PackageError("npm: not found on the PATH; it comes with Node.js, and fetches the packages")
    command = [npm, "pack", specification, "--ignore-scripts", "--loglevel=error"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if ended.returncode != 0:
        said = "; ".join(_complaints(ended.stderr.splitlines())) or f"exit code {ended.returncode}"
        raise PackageError(f"npm pack {specification}: {said}; `npm ping` tells whether the registry answers")


def _complaints(lines: Iterable[str]) -> list[str]:
    """What npm says went wrong, in three lines at most: without prefixes, repeated codes and the name of its log."""
    said = (line.removeprefix("npm ERR!").removeprefix("npm error").strip() for line in lines)
    told = [line for line in said if not line.startswith(("syscall ", "errno ")) and "log of this run" not in line]
    return [line for line in told if line][:3]


def _read_json(path: Path, package: str) -> Any:
    try:
        return json.loads(_read_text(path, package))
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{package}: {path.name}: not JSON ({error})") from None


def _read_text(path: Path, package: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PackageError(f"{package}: {path}: cannot be read ({reason}); is its layout another one?") from None
