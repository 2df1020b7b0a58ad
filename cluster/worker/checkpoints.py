"""A run's training checkpoints: whole or not at all, held to checksums, written beside training.

RUN/checkpoints/STAGE-00000250/
    state.json      position in the data, configuration, every other file's size and SHA-256; written last
    NETWORK.safetensors, average.safetensors, vocabulary.json
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from cluster.worker.state import CheckpointState, SavedFile
from datasets import storage
from datasets.storage import MissingError, StorageError
from datasets.storage.lease import LeaseToken
from dmgan.runs.run import Run, generator_json

__all__ = ["Checkpoints", "DamagedError", "copy_checkpoint"]

Content = Callable[[], bytes]


class DamagedError(StorageError):
    """A file is not what was written; one line."""


class Checkpoints:
    """The checkpoints of a run; `keep` of them stay. They are written as long as `lease` is held."""

    def __init__(
        self,
        run: Run,
        keep: int = 1,
        warn: Callable[[str], None] = lambda text: None,
        lease: LeaseToken | None = None,
    ) -> None:
        self._run, self._keep, self._warn, self._lease = run, keep, warn, lease
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def save(self, state: CheckpointState, files: Mapping[str, Content], exports: Mapping[str, Content]) -> None:
        """Start to write a checkpoint of `files`, then `exports` into the run's folder; waits for the one before.

        `state` names no files yet. Contents are made while training goes on, so they must hold copies. Raises
        what the checkpoint before failed with.
        """
        self.wait()
        self._writing = self._pool.submit(self._write, state, files, exports)

    def export(self, exports: Mapping[str, Content]) -> None:
        """Write what of a checkpoint belongs in the run's folder, at once."""
        if exports:
            self._check_lease()
        for name, content in exports.items():
            storage.write_bytes(self._run.path(name), content())

    def wait(self) -> None:
        """Until the last checkpoint is written. Raises StorageError if it could not be."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def states(self, stage: str) -> Iterator[tuple[str, CheckpointState]]:
        """Name and state of the stage's complete checkpoints, the newest first."""
        for name in sorted(self._names(), reverse=True):
            if name.rpartition("-")[0] == stage and (state := self._state(name)) is not None:
                yield name, state

    def newest_intact(self, stage: str) -> str | None:
        """The name of the stage's newest checkpoint of which every file is as it was written; reads all of it.

        Damaged ones are passed over with a warning.
        """
        for name, state in self.states(stage):
            try:
                for file in state.files:
                    self.read(name, file, state)
                return name
            except (DamagedError, MissingError) as error:
                self._warn(f"{error}; going on from the checkpoint before")
                storage.remove(self._path(name, "state.json"))  # it is none, and not to be counted as one
        return None

    def state(self, name: str) -> CheckpointState:
        found = self._state(name)
        if found is None:
            raise StorageError(f"{self._path(name, 'state.json')}: not found or damaged")
        return found

    def read(self, name: str, file: str, state: CheckpointState) -> bytes:
        """A file of a checkpoint. Raises DamagedError if it is not what was written."""
        location = self._path(name, file)
        content = storage.read_bytes(location)
        if hashlib.sha256(content).hexdigest() != state.files[file].sha256:
            raise DamagedError(f"{location}: damaged: has another checksum than state.json says")
        return content

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _path(self, *parts: str) -> str:
        return self._run.path("checkpoints", *parts)

    def _names(self) -> list[str]:
        return storage.list_folders(self._run.path("checkpoints"))

    def _state(self, name: str) -> CheckpointState | None:
        """None for a checkpoint that was not finished, or whose state.json is damaged."""
        location = self._path(name, "state.json")
        try:
            return CheckpointState.from_bytes(storage.read_bytes(location))
        except storage.MissingError:
            return None
        except ValueError as error:
            self._warn(f"{location}: damaged: {error}; going on from the checkpoint before")
            return None

    def _write(self, state: CheckpointState, files: Mapping[str, Content], exports: Mapping[str, Content]) -> None:
        self._check_lease()
        folder = state.folder
        storage.remove(self._path(folder, "state.json"))  # of this step's in an earlier life: not whole from here on
        saved = {}
        for name, content in files.items():
            written = content()
            saved[name] = SavedFile(sha256=hashlib.sha256(written).hexdigest(), size=len(written))
            storage.write_bytes(self._path(folder, name), written)
        self._check_lease()  # writing took its time
        storage.write_bytes(self._path(folder, "state.json"), state.model_copy(update={"files": saved}).to_bytes())
        # After the checkpoint: a full disk or a kill leaves no generator that training cannot go on from.
        self.export(exports)
        try:
            self._prune()
        except StorageError as error:  # without the right to delete
            self._warn(f"old checkpoints stay: {error}")

    def _prune(self) -> None:
        """Remove all but the newest `keep` complete checkpoints, and what was left unfinished before those."""
        kept = 0
        for name in sorted(self._names(), reverse=True):  # pretrain before train, then by step
            if kept == self._keep:
                storage.remove(self._path(name, "state.json"))
                storage.remove_folder(self._path(name))
            elif self._state(name) is not None:
                kept += 1


def copy_checkpoint(source: Run, dest: Run, step: int) -> int:
    """Make a GAN checkpoint of `source` the only one of `dest`: that of `step`, or the newest where it is gone.

    Returns its step. The encoders go along. Raises StorageError where there is none, or it is damaged.
    """
    theirs, own = Checkpoints(source), Checkpoints(dest)
    states = dict(theirs.states("train"))
    if not states:
        raise StorageError(f"{source.path('checkpoints')}: no checkpoint of the GAN to go on from")
    name = next((name for name, state in states.items() if state.step == step), next(iter(states)))
    state = states[name]
    files = {file: theirs.read(name, file, state) for file in state.files}
    before = [other for other, _ in own.states("train") if other != name]
    for file in ("vocabulary.json", "encoders.safetensors"):
        storage.write_bytes(dest.path(file), storage.read_bytes(source.path(file)))
    # What is exported with a checkpoint goes on from it.
    config = source.read_config()
    average = files["average.safetensors"]
    storage.write_bytes(dest.path("generator.safetensors"), average)
    storage.write_bytes(dest.path("generator.json"), generator_json(config, state.step, state.step))
    for file, content in files.items():
        storage.write_bytes(dest.path("checkpoints", name, file), content)
    storage.write_bytes(dest.path("checkpoints", name, "state.json"), state.to_bytes())
    for other in before:
        storage.remove(dest.path("checkpoints", other, "state.json"))
        storage.remove_folder(dest.path("checkpoints", other))
    return state.step
