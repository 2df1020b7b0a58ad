"""What a stage of a run was trained with: RUN/machine.json, a record a stage of its last start."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from datasets.documents import first_problem
from dmgan import __version__
from dmgan.config import ConfigError
from dmgan.runs.folder import RunFolder

__all__ = ["MACHINE", "Machine", "read_machines", "record_machine", "this_machine"]

MACHINE = "machine.json"
_PACKAGES = ("torch", "ray", "deepspeed")
_ROOT = Path(__file__).parents[2]


class Machine(BaseModel):
    """The machine of the first worker, and the code that ran there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str  # the name of its GPU, or of its processor
    gpu: bool
    cores: int  # logical ones
    memory: int  # bytes, of the host
    workers: int
    workers_here: int  # of them on this machine
    version: str  # of dmgan
    commit: str | None  # of the checkout that ran, with -dirty where it was changed; None where there is none
    packages: dict[str, str]  # versions


def this_machine(device: torch.device, workers: int) -> Machine:
    """This process's machine, for a training by `workers` on `device`s like its own."""
    gpu = device.type == "cuda"
    return Machine(
        device=torch.cuda.get_device_name(device) if gpu else _processor(),
        gpu=gpu,
        cores=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        workers=workers,
        workers_here=int(os.environ.get("LOCAL_WORLD_SIZE", workers)),
        version=__version__,
        commit=_commit(),
        packages=_versions(),
    )


def record_machine(run: RunFolder, stage: str, machine: Machine) -> None:
    """Put it in machine.json in place of what an earlier start of the stage left there; a damaged file is replaced."""
    try:
        records = read_machines(run)
    except ConfigError:
        records = {}
    records[stage] = machine
    run.write_json(MACHINE, {name: record.model_dump() for name, record in records.items()})


def read_machines(run: RunFolder) -> dict[str, Machine]:
    """By stage; empty for a run that has no such record. Raises ConfigError for a damaged file."""
    if not run.has(MACHINE):
        return {}
    found = run.read_json(MACHINE)
    try:
        return {str(name): Machine.model_validate(record) for name, record in dict(found).items()}
    except ValidationError as error:
        raise ConfigError(f"{run.path(MACHINE)}: damaged or of another version: {first_problem(error)}") from None
    except (TypeError, ValueError):
        raise ConfigError(f"{run.path(MACHINE)}: damaged: expected an object of objects") from None


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """None where the code is no checkout, as in an image and in what `ray job submit` uploads."""
    if not (_ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or None
    return None


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
