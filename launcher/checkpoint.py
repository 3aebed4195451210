"""Checkpoints: a manifest in JSON and the tensors in safetensors; nothing is pickled, nothing half-written is read.

    checkpoints/step-100/manifest.json       format, step, every file's size and checksum, the tree of plain values
                         model.safetensors   the main model's weights, by their own names
                         state.safetensors   moments, generators, everything else that is a tensor
    checkpoints/last -> step-100             checkpoints/best -> step-80

Saving has two halves. The loop waits only for the first: tensors are copied into staging buffers that are kept
from one checkpoint to the next. A thread then writes a hidden folder beside the others, flushes it to the disk and
renames it; so a folder named step-<n> is whole, or the disk itself lost it, which sizes and checksums show.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import ConfigError, TrainingError
from .packing import checksum, pack, read_tensors, unpack, write_tensors
from .schema import FORMAT

_WEIGHTS = "parts/main/model/"
_MANIFEST, _MODEL, _STATE = "manifest.json", "model.safetensors", "state.safetensors"


class TornCheckpoint(Exception):
    """A checkpoint that is missing files, cut short or changed; the message says which file."""


class Checkpoints:
    """The checkpoints of one run.

    `keep` newest ones stay, and the best. `before_commit` is called in the writing thread before the rename: what a
    checkpoint refers to (the offset in metrics.jsonl) must be on the disk before it is. `say` gets messages for people.
    """

    def __init__(
        self,
        folder: Path,
        keep: int,
        before_commit: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.folder = folder
        self.keep = keep
        self.blocked_s = 0.0  # how long saving held the loop up
        self.written_s = 0.0  # how long writing took
        self.saved_at = time.monotonic()  # the last one of this process, or its start
        self._before_commit = before_commit
        self._say = say
        self._staging: dict[str, Tensor] = {}
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._torn: list[int] = []  # passed over when the state was loaded

    # -- saving

    def save(self, step: int, state: dict[str, Any], best_step: int | None, wait: bool = False) -> None:
        """Keep `state` as step-<step>; returns when it is copied, or with `wait` when it is on the disk.

        Raises TrainingError where this write or the one before it failed, naming the last good checkpoint.
        """
        started = time.perf_counter()
        self.wait()
        self.saved_at = time.monotonic()
        tree, tensors = pack(state)
        staged = {name: self._stage(name, tensor) for name, tensor in tensors.items()}
        if any(tensor.is_cuda for tensor in tensors.values()):
            torch.cuda.synchronize()
        self._thread = threading.Thread(target=self._write, args=(step, tree, staged, best_step), name="checkpoint")
        self._thread.start()
        self.blocked_s += time.perf_counter() - started
        if wait:
            self.wait()

    @property
    def writing(self) -> bool:
        """Whether a write is under way."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Return when no write is under way; raises TrainingError if the last one failed."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise what went wrong in a write since the last call, if anything did."""
        failure, self._failure = self._failure, None
        if failure is None:
            return
        steps = self.steps()
        good = (
            f"the last good checkpoint is {self.folder / f'step-{steps[-1]}'}" if steps else "there is none before it"
        )
        if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TrainingError(
                f"the disk is full: a checkpoint could not be written to {self.folder}; {good}"
            ) from failure
        reason = failure.strerror if isinstance(failure, OSError) and failure.strerror else str(failure)
        raise TrainingError(f"a checkpoint could not be written to {self.folder}: {reason}; {good}") from failure

    def _stage(self, name: str, tensor: Tensor) -> Tensor:
        buffer = self._staging.get(name)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._staging[name] = buffer
        return buffer.copy_(tensor, non_blocking=tensor.is_cuda)

    def _write(self, step: int, tree: Any, tensors: dict[str, Tensor], best_step: int | None) -> None:
        started = time.perf_counter()
        beside = self.folder / f".step-{step}"
        try:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            weights = {
                name.removeprefix(_WEIGHTS): tensor for name, tensor in tensors.items() if name.startswith(_WEIGHTS)
            }
            others = {name: tensor for name, tensor in tensors.items() if not name.startswith(_WEIGHTS)}
            files = {_MODEL: write_tensors(weights, beside / _MODEL), _STATE: write_tensors(others, beside / _STATE)}
            _write_manifest(beside / _MANIFEST, {"format": FORMAT, "step": step, "files": files, "tree": tree})
            _sync(beside)
            self._before_commit()
            self._commit(beside, step)
            self._link("last", step)
            if best_step is not None and (self.folder / f"step-{best_step}").is_dir():
                self._link("best", best_step)
            _sync(self.folder)
            self._prune(best_step)
        except BaseException as failure:  # handed to the loop, which is where people can be told
            self._failure = failure
            shutil.rmtree(beside, ignore_errors=True)
        self.written_s += time.perf_counter() - started

    def _commit(self, beside: Path, step: int) -> None:
        """Give the folder its name; one that stands there already (it was torn, and passed over) makes room."""
        final, aside = self.folder / f"step-{step}", self.folder / f".step-{step}-old"
        shutil.rmtree(aside, ignore_errors=True)
        if final.exists():
            final.rename(aside)
        beside.rename(final)
        shutil.rmtree(aside, ignore_errors=True)
        if step in self._torn:
            self._torn.remove(step)

    def _link(self, name: str, step: int) -> None:
        fresh = self.folder / f".{name}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f"step-{step}")
        fresh.replace(self.folder / name)

    def _prune(self, best_step: int | None) -> None:
        """Take away the oldest, and those that were passed over: they must not count as the newest."""
        whole = [step for step in self.steps() if step not in self._torn]
        for step in [*self._torn, *whole[: -self.keep]]:
            if step != best_step:
                shutil.rmtree(self.folder / f"step-{step}", ignore_errors=True)
        self._torn.clear()

    # -- loading

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint, oldest first."""
        names = (entry.name.removeprefix("step-") for entry in self.folder.glob("step-*"))
        return sorted(int(name) for name in names if name.isdigit())

    def load_last(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole; None where there is none.

        Passing over a torn one is said, and so is starting over. Raises ConfigError for a checkpoint of another format.
        """
        steps = self.steps()
        if not steps:
            self._say(f"there is no checkpoint in {self.folder} yet: starting over")
        while steps:
            step = steps.pop()
            try:
                return self.load(step)
            except TornCheckpoint as torn:
                self._torn.append(step)
                then = f"falling back to step-{steps[-1]}" if steps else "starting over"
                self._say(f"checkpoint step-{step} is torn ({torn}): {then}")
        return None

    def load(self, step: int) -> dict[str, Any]:
        """The state saved at `step`. Raises TornCheckpoint, and ConfigError for another format."""
        folder = self.folder / f"step-{step}"
        manifest = _verified(folder)
        tensors = read_tensors(folder / _STATE)
        tensors.update({_WEIGHTS + name: tensor for name, tensor in read_tensors(folder / _MODEL).items()})
        state: dict[str, Any] = unpack(manifest["tree"], tensors)
        return state


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The main model's state dict in a checkpoint's folder. Raises TornCheckpoint, and ConfigError for another format."""
    manifest = _verified(folder)
    tensors = {_WEIGHTS + name: tensor for name, tensor in read_tensors(folder / _MODEL).items()}
    weights: dict[str, Tensor] = unpack(manifest["tree"]["parts"]["main"]["model"], tensors)
    return weights


def _write_manifest(path: Path, content: dict[str, Any]) -> None:
    """The content and its own checksum: JSON has no other way to tell a changed number from a number."""
    text = json.dumps({"crc32": zlib.crc32(json.dumps(content).encode())} | content)
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _verified(folder: Path) -> dict[str, Any]:
    """A checkpoint's manifest, when every file is as it was written."""
    try:
        manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise TornCheckpoint(f"{_MANIFEST} is missing") from error
    except OSError as error:
        raise TornCheckpoint(f"{_MANIFEST}: {error.strerror}") from error
    except ValueError as error:
        raise TornCheckpoint(f"{_MANIFEST} is no JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise TornCheckpoint(f"{_MANIFEST} has changed since it was written")
    known, actual = manifest.pop("crc32", None), zlib.crc32(json.dumps(manifest).encode())
    if known in (actual, None) and manifest.get("format") != FORMAT:
        raise ConfigError(f"{folder} is of format {manifest.get('format')}; this version reads format {FORMAT}")
    if known != actual:
        raise TornCheckpoint(f"{_MANIFEST} has changed since it was written")
    for name, written in manifest["files"].items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != written["bytes"]:
                raise TornCheckpoint(f"{name} has {size} bytes of {written['bytes']}")
            if checksum(path) != written["crc32"]:
                raise TornCheckpoint(f"{name} has changed since it was written")
        except FileNotFoundError as error:
            raise TornCheckpoint(f"{name} is missing") from error
        except OSError as error:
            raise TornCheckpoint(f"{name}: {error.strerror}") from error
    return manifest


def _sync(folder: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
