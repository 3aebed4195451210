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
from .schema import FORMAT

_WEIGHTS = "parts/main/model/"


class TornCheckpoint(Exception):
    """A checkpoint that is missing files, cut short or changed; the message says which file."""


class Checkpoints:
    """The checkpoints of one run.

    `keep` newest ones stay, and the best. `before_commit` is called in the writing thread before the rename: what a
    checkpoint refers to (the offset in metrics.jsonl) must be on the disk before it is. `say` gets messages for people.
    """

    def __init__(
        self, folder: Path, keep: int, before_commit: Callable[[], None] = lambda: None, say: Callable[[str], None] = print
    ) -> None:
        self.folder = folder
        self.keep = keep
        self.blocked_s = 0.0  # how long saving held the loop up
        self.written_s = 0.0  # how long writing took
        self._before_commit = before_commit
        self._say = say
        self._staging: dict[str, Tensor] = {}
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    # -- saving

    def save(self, step: int, state: dict[str, Any], best_step: int | None, wait: bool = False) -> None:
        """Keep `state` as step-<step>; returns when it is copied, or with `wait` when it is on the disk.

        Raises TrainingError where this write or the one before it failed, naming the last good checkpoint.
        """
        self.wait()
        started = time.perf_counter()
        tree, tensors = pack(state)
        staged = {name: self._stage(name, tensor) for name, tensor in tensors.items()}
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.blocked_s += time.perf_counter() - started
        self._thread = threading.Thread(target=self._write, args=(step, tree, staged, best_step), name="checkpoint")
        self._thread.start()
        if wait:
            self.wait()

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
        good = f"the last good checkpoint is {self.folder / f'step-{steps[-1]}'}" if steps else "there is no earlier checkpoint"
        if isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TrainingError(f"the disk is full: a checkpoint could not be written to {self.folder}; {good}") from failure
        raise TrainingError(f"a checkpoint could not be written to {self.folder}: {failure}; {good}") from failure

    def _stage(self, name: str, tensor: Tensor) -> Tensor:
        buffer = self._staging.get(name)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._staging[name] = buffer
        return buffer.copy_(tensor, non_blocking=True)

    def _write(self, step: int, tree: Any, tensors: dict[str, Tensor], best_step: int | None) -> None:
        started = time.perf_counter()
        beside = self.folder / f".step-{step}"
        try:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            weights = {name.removeprefix(_WEIGHTS): tensor for name, tensor in tensors.items() if name.startswith(_WEIGHTS)}
            others = {name: tensor for name, tensor in tensors.items() if not name.startswith(_WEIGHTS)}
            files = {}
            for name, content in (("model.safetensors", weights), ("state.safetensors", others)):
                files[name] = _save_tensors(content, beside / name)
            manifest = {"format": FORMAT, "step": step, "files": files, "tree": tree}
            _write_text(beside / "manifest.json", json.dumps(manifest))
            _sync(beside)
            self._before_commit()
            final = self.folder / f"step-{step}"
            shutil.rmtree(final, ignore_errors=True)
            beside.rename(final)
            self._link("last", step)
            if best_step is not None and (self.folder / f"step-{best_step}").is_dir():
                self._link("best", best_step)
            _sync(self.folder)
            self._prune(best_step)
        except BaseException as failure:  # handed to the loop, which is where people can be told
            self._failure = failure
            shutil.rmtree(beside, ignore_errors=True)
        self.written_s += time.perf_counter() - started

    def _link(self, name: str, step: int) -> None:
        fresh = self.folder / f".{name}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f"step-{step}")
        fresh.replace(self.folder / name)

    def _prune(self, best_step: int | None) -> None:
        for step in self.steps()[: -self.keep]:
            if step != best_step:
                shutil.rmtree(self.folder / f"step-{step}", ignore_errors=True)

    # -- loading

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint, oldest first."""
        names = (entry.name.removeprefix("step-") for entry in self.folder.glob("step-*"))
        return sorted(int(name) for name in names if name.isdigit())

    def load_last(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole; None where there is none.

        Passing over a torn one is said. Raises ConfigError for a checkpoint of another format.
        """
        for step in reversed(self.steps()):
            try:
                return self.load(step)
            except TornCheckpoint as torn:
                earlier = [other for other in self.steps() if other < step]
                self._say(f"checkpoint step-{step} is torn ({torn}); " + (f"falling back to step-{earlier[-1]}" if earlier else "starting over"))
        return None

    def load(self, step: int) -> dict[str, Any]:
        """The state saved at `step`. Raises TornCheckpoint, and ConfigError for another format."""
        folder = self.folder / f"step-{step}"
        manifest = _verified(folder)
        tensors = _load_tensors(folder / "state.safetensors")
        tensors.update({_WEIGHTS + name: tensor for name, tensor in _load_tensors(folder / "model.safetensors").items()})
        state: dict[str, Any] = unpack(manifest["tree"], tensors)
        return state


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The main model's state dict in a checkpoint's folder. Raises TornCheckpoint."""
    manifest = _verified(folder)
    tensors = {_WEIGHTS + name: tensor for name, tensor in _load_tensors(folder / "model.safetensors").items()}
    weights: dict[str, Tensor] = unpack(manifest["tree"]["parts"]["main"]["model"], tensors)
    return weights


def _verified(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise TornCheckpoint(f"manifest.json: {error}") from error
    if manifest.get("format") != FORMAT:
        raise ConfigError(f"{folder} is of format {manifest.get('format')}; this version reads format {FORMAT}")
    for name, known in manifest["files"].items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != known["bytes"]:
                raise TornCheckpoint(f"{name} has {size} bytes of {known['bytes']}")
            if _checksum(path) != known["crc32"]:
                raise TornCheckpoint(f"{name} has changed since it was written")
        except OSError as error:
            raise TornCheckpoint(f"{name}: {error.strerror}") from error
    return manifest


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> dict[str, int]:
    from safetensors.torch import save_file

    save_file(tensors, path)
    _sync(path)
    return {"bytes": path.stat().st_size, "crc32": _checksum(path)}


def _load_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Flush a file's or a folder's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def pack(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Nested dicts, lists and tuples as (a tree that JSON can hold, the tensors in it by their path).

    A tensor that stands at two places (tied weights) is kept once. Raises TypeError naming the path of a value
    that is neither a tensor nor plain.
    """
    tensors: dict[str, Tensor] = {}
    seen: dict[tuple[Any, ...], str] = {}

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            identity = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
            name = seen.setdefault(identity, path) if value.numel() else path
            tensors.setdefault(name, value.detach())
            return {"__tensor__": name}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, tuple):
            return {"__tuple__": [walk(entry, f"{path}/{index}") for index, entry in enumerate(value)]}
        if isinstance(value, list):
            return [walk(entry, f"{path}/{index}") for index, entry in enumerate(value)]
        if isinstance(value, dict):
            if all(isinstance(key, str) and not key.startswith("__") for key in value):
                return {key: walk(entry, f"{path}/{key}" if path else key) for key, entry in value.items()}
            return {"__items__": [[walk(key, path), walk(entry, f"{path}/{key}")] for key, entry in value.items()]}
        raise TypeError(f"{path}: a {type(value).__name__} can not be kept in a checkpoint; keep tensors and plain values")

    return walk(state, ""), tensors


def unpack(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """The reverse of `pack`."""
    if isinstance(tree, list):
        return [unpack(entry, tensors) for entry in tree]
    if isinstance(tree, dict):
        if "__tensor__" in tree:
            return tensors[tree["__tensor__"]]
        if "__tuple__" in tree:
            return tuple(unpack(entry, tensors) for entry in tree["__tuple__"])
        if "__items__" in tree:
            return {unpack(key, tensors): unpack(entry, tensors) for key, entry in tree["__items__"]}
        return {key: unpack(entry, tensors) for key, entry in tree.items()}
    return tree
