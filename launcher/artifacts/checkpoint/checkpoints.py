"""Checkpoints: a manifest in JSON and the tensors in safetensors; nothing is pickled, nothing half-written is read.

    checkpoints/step-100/manifest.json       format, step, every file's size and checksum, the tree of plain values
                         model.safetensors   the main model's weights, by their own names
                         state.safetensors   moments, generators, everything else that is a tensor
                         rank-0.safetensors  what is split over ranks: the pieces of one, where it is not saved whole
    checkpoints/last -> step-100             checkpoints/best -> step-80

Saving has two halves. The loop waits only for the first: tensors are copied into staging buffers that are kept
from one checkpoint to the next. A thread then writes a hidden folder beside the others, flushes it to the disk and
renames it; so a folder named step-<n> is whole, or the disk itself lost it, which sizes and checksums show.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from launcher.artifacts.folder import FORMAT
from launcher.errors import TrainingError

from .manifest import MANIFEST, TornCheckpoint, sync, verified, write_manifest
from .pieces import Piece, Pieces, blocks_by_name, collect, described, file_of, publish
from .tensors import pack, read_pieces, read_tensors, unpack, write_tensors

WEIGHTS = "parts/main/model/"
MODEL, _STATE = "model.safetensors", "state.safetensors"

Ours = tuple[dict[str, Tensor], dict[str, list[tuple[int, ...]]]]
"""A rank's blocks by their names in its file, and for each tensor the offsets of its own."""


class Checkpoints:
    """The checkpoints of one run.

    `keep` newest ones stay, and the best. `before_commit` is called in the writing thread before the rename: what a
    checkpoint refers to (the offset in metrics.jsonl) must be on the disk before it is. `say` gets messages for people.

    Where the state has pieces, all ranks take part (`writer`: which one this is, of how many): each writes its own
    beside, and rank 0 commits once all have (within `limit_s`), with `full` after it has put them together. No tensor
    is sent from rank to rank for it.
    """

    def __init__(
        self,
        folder: Path,
        keep: int,
        before_commit: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = print,
        writer: tuple[int, int] = (0, 1),
        full: bool = False,
        limit_s: float = 600.0,
    ) -> None:
        self.folder = folder
        self.keep = keep
        (self.rank, self.num_ranks), self.full, self.limit_s = writer, full, limit_s
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

    def begin(self, step: int) -> None:
        """Make the folder that several ranks will write into, before they exchange their states."""
        self.wait()
        if self.rank == 0:
            try:
                self._make(self._beside(step))
            except OSError as error:
                self._failure = error
                self.raise_failure()

    def _make(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def _beside(self, step: int) -> Path:
        return self.folder / f".step-{step}"

    def save(self, step: int, state: dict[str, Any], best_step: int | None, wait: bool = False) -> None:
        """Keep `state` as step-<step>; returns when it is copied, or with `wait` when it is on the disk.

        Raises TrainingError where this write or the one before it failed, naming the last good checkpoint.
        """
        started = time.perf_counter()
        self.wait()
        self.saved_at = time.monotonic()
        tree, packed = pack(state)
        pieces = {name: piece for name, piece in packed.items() if isinstance(piece, Piece)}
        tensors = {name: tensor for name, tensor in packed.items() if isinstance(tensor, Tensor) and self.rank == 0}
        held = blocks_by_name(pieces)
        staged = {name: self._stage(name, tensor) for name, tensor in (tensors | held).items()}
        for device in {tensor.device for tensor in (tensors | held).values() if tensor.is_cuda}:
            torch.cuda.synchronize(device)
        offsets = {name: [offset for offset, _ in piece.blocks] for name, piece in pieces.items() if piece.blocks}
        ours = ({name: staged.pop(name) for name in held}, offsets)
        shapes = {name: list(piece.shape) for name, piece in pieces.items()}
        write, args = (
            (self._write, (step, tree, staged, ours, shapes, best_step))
            if self.rank == 0
            else (self._write_part, (step, ours))
        )
        self._thread = threading.Thread(target=write, args=args, name="checkpoint")
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

    def _write_part(self, step: int, ours: Ours) -> None:
        """What a rank other than the first writes: its pieces, and word of them."""
        beside = self._beside(step)
        try:
            publish(beside, self.rank, self._write_pieces(beside, ours))
        except BaseException as failure:
            self._failure = failure
            told = {
                "failure": getattr(failure, "strerror", None) or str(failure),
                "errno": getattr(failure, "errno", 0),
            }
            with contextlib.suppress(OSError):
                publish(beside, self.rank, told)

    def _write_pieces(self, beside: Path, ours: Ours) -> dict[str, Any]:
        name = file_of(self.rank)
        tensors, offsets = ours
        return {"name": name, "file": write_tensors(tensors, beside / name), "offsets": offsets}

    def _write(
        self,
        step: int,
        tree: Any,
        tensors: dict[str, Tensor | Pieces],
        ours: Ours,
        shapes: dict[str, list[int]],
        best_step: int | None,
    ) -> None:
        started = time.perf_counter()
        beside = self._beside(step)
        try:
            if self.num_ranks == 1:
                self._make(beside)
            content: dict[str, Any] = {"format": FORMAT, "step": step, "files": {}, "tree": tree}
            if shapes:
                records = [self._write_pieces(beside, ours), *collect(beside, self.num_ranks, self.limit_s)]
                content["files"] = {record["name"]: record["file"] for record in records}
                content["pieces"] = described(shapes, records)
            if shapes and self.full:
                tensors = {**tensors, **read_pieces(beside, content.pop("pieces"))}
                for name in content["files"]:
                    (beside / name).unlink()  # what is mapped stays readable until it is let go
                content["files"] = {}
            weights = {
                name.removeprefix(WEIGHTS): tensor for name, tensor in tensors.items() if name.startswith(WEIGHTS)
            }
            others = {name: tensor for name, tensor in tensors.items() if not name.startswith(WEIGHTS)}
            content["files"] |= {
                MODEL: write_tensors(weights, beside / MODEL),
                _STATE: write_tensors(others, beside / _STATE),
            }
            write_manifest(beside / MANIFEST, content)
            sync(beside)
            self._before_commit()
            self._commit(beside, step)
            self.tidy(step, best_step)
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

    def tidy(self, step: int, best_step: int | None) -> None:
        """`last` and `best` point to their checkpoints, and those that are too many are gone: after each that is written,
        and at a run's end, which may be all that is left of a run that was killed just after its last one."""
        if not (self.folder / f"step-{step}").is_dir():
            return
        self._link("last", step)
        if best_step is not None and (self.folder / f"step-{best_step}").is_dir():
            self._link("best", best_step)
        sync(self.folder)
        self._prune(best_step)

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
        """The state saved at `step`; what ranks had pieces of is `Pieces`.

        Raises TornCheckpoint, and ConfigError for another format.
        """
        folder = self.folder / f"step-{step}"
        manifest = verified(folder)
        mapped = self.num_ranks > 1  # each rank copies its own part out of it
        tensors: dict[str, Tensor | Pieces] = {**read_tensors(folder / _STATE, mapped)}
        tensors.update({WEIGHTS + name: each for name, each in read_tensors(folder / MODEL, mapped).items()})
        tensors.update(read_pieces(folder, manifest.get("pieces", {})))
        state: dict[str, Any] = unpack(manifest["tree"], tensors)
        return state
