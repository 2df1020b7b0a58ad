"""python -m benchmarks.fuzz --inputs 5000 --seed 0: damaged and hostile inputs on every surface that reads one.

Good files of every kind are changed at random (bits, cuts, repeated and swapped parts, values of other types, texts
that went wrong for somebody) and read as the product reads them. Each input must be used rightly or refused with a
UserError of one line, in seconds. Prints for each surface how many were accepted and refused, and how many tracebacks,
hangs and accepted wrong data there were; exit code 1 where there was any of the last three.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.fuzz_good import make_good
from benchmarks.fuzz_inputs import mutated
from cluster.worker.checkpoints import Checkpoints
from cluster.worker.state import CheckpointState
from datasets import storage
from datasets.captions import load_captions
from datasets.documents import parse_yaml
from datasets.errors import UserError
from datasets.manifest import load_manifest
from datasets.packing.pixels import to_rgb
from datasets.sources import coco, folder
from datasets.sources.pickles import read_plain_pickle
from datasets.sources.records import records_of
from dmgan.cli.parser import parse
from dmgan.config import load_config, parse_config
from dmgan.evaluation.metrics.fid import read_moments
from dmgan.evaluation.record import read_evaluation
from dmgan.runs.run import Run, read_weights
from tune.results import load_trial
from tune.space import parse_space
from tune.state import read_state

__all__ = ["SURFACES", "main", "tried"]

_SECONDS = 10  # until an input hangs


class WrongDataError(Exception):
    """An input was accepted and is not what it was read as."""


@dataclass(frozen=True)
class Surface:
    """`read(folder)` reads what is below `folder`, of which the file `name` was changed. Raises WrongDataError."""

    file: str
    read: Callable[[Path], object]


class _Hang(BaseException):
    pass


@contextmanager
def _in_time() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _table(root: Path) -> None:
    """No caption is what stands for none, and each is a part of the table."""
    for name in ("source", "table"):
        (path,) = [p for p in (root / name).iterdir() if p.name.startswith("captions.")]
        text = path.read_bytes()
        for record in records_of(folder.read(root / name)):
            for caption in record.captions:
                if caption.casefold() in ("none", "nan", "null"):
                    raise WrongDataError(f"{caption!r} as a caption")
                written = caption.encode(), caption.replace('"', '""').encode()
                if path.suffix == ".csv" and caption.isascii() and not any(each in text for each in written):
                    raise WrongDataError(f"{caption!r} is not in the table")
            outside = Path(record.image.name).resolve()
            if not outside.is_relative_to((root / name).resolve()):
                raise WrongDataError(f"{outside} is outside")


def _coco(root: Path) -> None:
    for record in records_of(coco.read(root / "coco")):
        if not Path(record.image.name).resolve().is_relative_to((root / "coco").resolve()):
            raise WrongDataError(f"{record.image.name} is outside")


def _dataset(root: Path) -> None:
    manifest, vocabulary = load_manifest(str(root / "data"))
    for name, split in manifest.splits.items():
        if split.samples != sum(shard.samples for shard in split.shards) or not split.shards:
            raise WrongDataError(f"{name}: counts do not add up")
        captions = list(load_captions(str(root / "data"), name))
        if len(captions) != split.samples:
            raise WrongDataError(f"{name}: {len(captions)} images with captions of {split.samples}")
        if not all(vocabulary.encode(text) for entry in captions for text in entry.captions):
            raise WrongDataError("a caption without a known word")


def _checkpoint(root: Path) -> None:
    """A state.json that is used says exactly what was written."""
    good = CheckpointState.from_bytes(_GOOD["run/checkpoints/train-00000004/state.json"])
    if any(state != good for _, state in Checkpoints(Run(str(root / "run"))).states("train")):
        raise WrongDataError("another state than was written")


def _moments(root: Path) -> None:
    moments = read_moments(str(root / "real.npz"))
    if not np.isfinite(moments.mean).all() or np.linalg.eigvalsh(moments.covariance).min() < -1e-3:
        raise WrongDataError("no moments")


def _run(root: Path) -> None:
    run = Run(str(root / "run"))
    config = run.read_config()
    for tensor in (*run.load_generator().state_dict().values(), *run.load_encoders(config).state_dict().values()):
        if not tensor.isfinite().all():
            raise WrongDataError("weights that are no numbers")
    run.read_metrics()
    run.trained_steps()


def _image(root: Path) -> None:
    """As packing does: what a decoder raises is a rejection."""
    try:
        with Image.open(io.BytesIO((root / "deep.png").read_bytes())) as opened:
            opened.load()
            kind, pixels = opened.mode, np.asarray(to_rgb(opened)).astype(float)
            if kind == "I;16" and abs(pixels.mean() - np.asarray(opened).astype(float).mean() / 257) > 2:
                raise WrongDataError("another brightness")
    except WrongDataError:
        raise
    except Exception as error:
        raise storage.StorageError(" ".join(str(error).split())[:200]) from None


def _arguments(root: Path) -> None:
    text = (root / "arguments").read_bytes().decode("utf-8", "surrogateescape")
    try:
        options = parse([word for word in text.split(" ") if "-h" not in word])
    except SystemExit as error:
        raise WrongDataError(f"ended with {error.code}") from None
    storage.absolute(options.storage)
    load_config(options.config if options.config in (None, "cub", "coco") else None, options.set)


SURFACES = {
    "--config": Surface("config.yaml", lambda root: load_config(root / "config.yaml")),
    "--search": Surface(
        "space.yaml",
        lambda root: parse_space(parse_yaml((root / "space.yaml").read_bytes(), "space"), load_config("cub"), "space"),
    ),
    "run.yaml": Surface("run/run.yaml", lambda root: parse_config(Run(str(root / "run")).read_config().model_dump())),
    "command line": Surface("arguments", _arguments),
    "captions.jsonl": Surface("source/captions.jsonl", _table),
    "captions.csv": Surface("table/captions.csv", _table),
    "COCO's captions": Surface("coco/annotations/captions_val2014.json", _coco),
    "manifest.json": Surface("data/manifest.json", _dataset),
    "captions of a shard": Surface("data/test-000000.captions.jsonl", _dataset),
    "index of a shard": Surface("data/test-000000.index.npy", _dataset),
    "table of shards": Surface("data/test-shards.npy", _dataset),
    "vocabulary.json": Surface("data/vocabulary.json", _dataset),
    "vocabulary of a run": Surface("run/vocabulary.json", _run),
    "state.json": Surface("run/checkpoints/train-00000004/state.json", _checkpoint),
    "generator.json": Surface("run/generator.json", _run),
    "generator.safetensors": Surface("run/generator.safetensors", _run),
    "metrics.jsonl": Surface("run/metrics.jsonl", _run),
    "evaluation.json": Surface("run/evaluation.json", lambda root: read_evaluation(Run(str(root / "run")))),
    "sweep.json": Surface("sweep/sweep.json", lambda root: read_state(Run(str(root / "sweep")))),
    "trial.json": Surface("sweep/trials/001/trial.json", lambda root: load_trial(Run(str(root / "sweep")), "001")),
    "statistics": Surface("real.npz", _moments),
    "weights": Surface("weights.pth", lambda root: read_weights(str(root / "weights.pth"))),
    "pickles": Surface(
        "names.pickle", lambda root: read_plain_pickle((root / "names.pickle").read_bytes(), "names.pickle")
    ),
    "images": Surface("deep.png", _image),
}
_GOOD: dict[str, bytes] = {}


def tried(surface: Surface, root: Path, content: bytes) -> str:
    """What becomes of the surface's file with this content: accepted, refused, or a fault with its kind and reason."""
    path = root / surface.file
    path.write_bytes(content)
    try:
        with _in_time():
            surface.read(root)
        return "accepted"
    except UserError as error:
        lines = str(error).splitlines()
        return "refused" if len(lines) == 1 and len(lines[0]) < 1000 else f"traceback: {len(lines)} lines: {lines[:1]}"
    except WrongDataError as error:
        return f"wrong data: {error}"
    except _Hang:
        return "hang"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        path.write_bytes(_GOOD[surface.file])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="the result as the last line")
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)
    counts = {name: Counter[str]() for name in SURFACES}
    with tempfile.TemporaryDirectory(prefix="dmgan-fuzz-") as temporary:
        root = Path(temporary)
        make_good(root)
        for surface in SURFACES.values():
            _GOOD[surface.file] = (root / surface.file).read_bytes()
        for name, surface in SURFACES.items():
            assert tried(surface, root, _GOOD[surface.file]) == "accepted", name
        for number in range(options.inputs):
            name = list(SURFACES)[number % len(SURFACES)]
            content = mutated(_GOOD[SURFACES[name].file], rng)
            outcome = tried(SURFACES[name], root, content)
            kind = outcome.partition(": ")[0]
            counts[name].update([kind])
            if kind not in ("accepted", "refused"):
                print(f"{name}: {outcome}: {content[:120]!r}", flush=True)
    kinds = ("accepted", "refused", "traceback", "hang", "wrong data")
    print(f"{'surface':22}" + "".join(f"{kind:>12}" for kind in kinds))
    for name, found in counts.items():
        print(f"{name:22}" + "".join(f"{found[kind]:12}" for kind in kinds))
    total = sum(counts.values(), Counter[str]())
    print(f"{'all':22}" + "".join(f"{total[kind]:12}" for kind in kinds))
    faults = sum(total[kind] for kind in kinds[2:])
    if options.json:
        print(json.dumps({"inputs": options.inputs, "seed": options.seed, **{kind: total[kind] for kind in kinds}}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
