"""Samples, the order they come in, and the batches of one rank.

The order is a function of (seed, epoch) and of nothing else: not of the number of ranks, of the micro-batches,
of the data workers, nor of where a run was killed. A position in it is the number of the step, so a resume has
nothing to restore: it asks for the batches from that step on.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from launcher.errors import ConfigError
from launcher.process.seeds import derive
from launcher.process.signals import held_back, obey_parent_alone

Batch = dict[str, Tensor]
"""Named tensors whose first dimension runs over the samples."""

CHUNK_BYTES = 4 << 20
"""In-memory batches are gathered several steps at a time, up to about this many bytes."""


COMPARED_ROWS, COMPARED_BYTES = 1 << 18, 1 << 28
"""Larger sets of samples are not looked through for copies: that would hold the first step up for a second."""


class Samples(ABC):
    """A finite set of samples that gives whole batches at once."""

    in_memory = False
    """Fetching is a gather from tensors that are already there."""
    decodes = False
    """Fetching does work on the CPU (reads files, decodes pictures) that data workers can take over."""
    alike = False
    """Batches of as many samples have the same shapes, whichever samples they are; not where texts are padded to the
    longest of their batch."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def fetch(self, indices: Tensor) -> Batch:
        """The samples at `indices` (int64, shape [batch]) as one batch, on the CPU or where the samples lie."""

    def evened(self) -> Samples:
        """The same samples in batches that are `alike`, for what can not follow shapes that change; those that do not
        know how are themselves."""
        return self

    def fingerprints(self) -> np.ndarray | None:
        """A number a sample (int64, [samples]), alike for samples that are alike in all but their label; of no meaning
        outside this process. None where it would cost too much to tell."""
        return None


class TensorSamples(Samples):
    """Samples that are the rows of tensors held in memory."""

    in_memory = True
    alike = True

    def __init__(self, **columns: Tensor) -> None:
        sizes = {name: len(column) for name, column in columns.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"columns of different lengths: {sizes}")
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def fetch(self, indices: Tensor) -> Batch:
        return {name: column.index_select(0, indices.to(column.device)) for name, column in self.columns.items()}

    def fingerprints(self) -> np.ndarray | None:
        inputs = [column.cpu().numpy() for name, column in self.columns.items() if name != "labels"]
        return fingerprints(*inputs)

    def to(self, device: torch.device) -> TensorSamples:
        """The same samples on another device."""
        return TensorSamples(**moved(self.columns, device))

    @property
    def bytes_per_sample(self) -> int:
        return sum(column[:1].numel() * column.element_size() for column in self.columns.values())


def moved(batch: Batch, device: torch.device, non_blocking: bool = False) -> Batch:
    """The batch on a device; in float32 what a device without float64 can not have."""
    if device.type == "mps":
        batch = {name: column.float() if column.dtype == torch.float64 else column for name, column in batch.items()}
    return {name: column.to(device, non_blocking=non_blocking) for name, column in batch.items()}


def first(samples: Samples, num: int) -> TensorSamples:
    """The first `num` samples, in memory. Raises ConfigError where there are not so many."""
    if num > len(samples):
        raise ConfigError(f"debug.overfit_batches asks for {num} samples; the training data has {len(samples)}")
    return TensorSamples(**samples.fetch(torch.arange(num)))


def fingerprints(*columns: np.ndarray) -> np.ndarray | None:
    """A number a row of the columns together (each [rows, …]), as `Samples.fingerprints` has them."""
    num, size = len(columns[0]), sum(column.nbytes for column in columns)
    if num > COMPARED_ROWS or size > COMPARED_BYTES:
        return None
    flat = [np.ascontiguousarray(column).reshape(num, -1).view(np.uint8) for column in columns]
    rows = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
    return np.fromiter((hash(row.tobytes()) for row in rows), dtype=np.int64, count=num)


@dataclass
class Datasets:
    """What a task learns from and is judged by. `val` is None where nothing is held out."""

    train: Samples
    val: Samples | None = None
    test: Samples | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """What the header, the page and the exported model say of the data: `classes`, `vocab_size`, …"""
    train_rows: np.ndarray | None = None
    val_rows: np.ndarray | None = None
    """Which rows of the data the samples are, in their order (int64); None where a sample is no row."""


class Batches:
    """The training batches of one rank: `start(step)` yields the micro-batches of that step and of all after it.

    A step takes `batch_size` samples over all ranks. The last `len(samples) % batch_size` of an epoch's order are
    left to the next epoch's, so that every step has the same size.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        batch_size: int,
        seed: int,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        prefetch: int = 2,
    ) -> None:
        if batch_size > len(samples):
            raise ConfigError(
                f"training.batch_size={batch_size} is larger than the training data: {len(samples)} samples"
            )
        cut = accumulate * world_size
        if batch_size % cut:
            near = sorted({max(1, batch_size // cut) * cut, math.ceil(batch_size / cut) * cut})
            raise ConfigError(
                f"training.batch_size={batch_size} can not be cut into training.accumulate={accumulate} x {world_size} rank(s): {' or '.join(map(str, near))} can"
            )
        self.samples, self.batch_size, self.accumulate, self.seed = samples, batch_size, accumulate, seed
        self.rank, self.world_size = rank, world_size
        self.num_workers, self.pin_memory, self.prefetch = num_workers, pin_memory, prefetch
        self.steps_per_epoch = len(samples) // batch_size

    def order(self, epoch: int) -> Tensor:
        """The order of all samples in an epoch: a permutation, int64, shape [len(samples)]."""
        generator = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
        return torch.randperm(len(self.samples), generator=generator)

    def indices(self, step: int) -> Tensor:
        """The samples of a step over all ranks, int64, shape [batch_size]."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self.order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]

    def start(self, step: int) -> Iterator[list[Batch]]:
        """Batches without end, from `step` (0 is the first) on; each item is a list of `accumulate` micro-batches."""
        if isinstance(self.samples, TensorSamples):
            return self._gathered(self.samples, step)
        return self._loaded(step)

    def _shares(self, step: int, num: int | None) -> Iterator[Tensor]:
        """This rank's indices, up to `num` steps of an epoch at a time: int64, shape [steps, accumulate, micro]."""
        epoch, position = divmod(step, self.steps_per_epoch)
        micro = self.batch_size // (self.accumulate * self.world_size)
        while True:
            rows = self.order(epoch)[: self.steps_per_epoch * self.batch_size]
            shares = rows.view(self.steps_per_epoch, self.accumulate, self.world_size, micro)[position:, :, self.rank]
            yield from shares.split(num or len(shares))
            epoch, position = epoch + 1, 0

    def _gathered(self, samples: TensorSamples, step: int) -> Iterator[list[Batch]]:
        share = self.batch_size // self.world_size
        num = max(1, CHUNK_BYTES // max(1, share * samples.bytes_per_sample))
        names = list(samples.columns)
        for indices in self._shares(step, num):
            gathered = samples.fetch(indices.reshape(-1))
            shaped = [gathered[name].view(*indices.shape, *gathered[name].shape[1:]) for name in names]
            for columns in zip(*(column.unbind() for column in shaped), strict=True):
                yield [
                    dict(zip(names, parts, strict=True))
                    for parts in zip(*(column.unbind() for column in columns), strict=True)
                ]

    def _loaded(self, step: int) -> Iterator[list[Batch]]:
        from torch.utils.data import DataLoader

        loader: DataLoader[list[Batch]] = DataLoader(
            _Fetch(self.samples),  # type: ignore[arg-type]  # a map from whole batches of indices, which DataLoader accepts
            batch_size=None,
            sampler=(share for shares in self._shares(step, None) for share in shares),
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            prefetch_factor=self.prefetch if self.num_workers else None,
            generator=torch.Generator(),  # its own: the loader must not draw from the run's
            worker_init_fn=obey_parent_alone,
        )
        with held_back():  # a signal to every process of the run is for the loop alone
            return iter(loader)


class EvalBatches:
    """Every sample once, in order; a rank takes each `world_size`-th batch, and nothing is padded."""

    def __init__(
        self, samples: Samples, *, batch_size: int, rank: int = 0, world_size: int = 1, limit: int | None = None
    ) -> None:
        self.samples, self.batch_size, self.rank, self.world_size = samples, batch_size, rank, world_size
        self.num = len(samples) if limit is None else min(limit, len(samples))

    def __iter__(self) -> Iterator[Batch]:
        for batch in torch.arange(self.num).split(self.batch_size)[self.rank :: self.world_size]:
            yield self.samples.fetch(batch)

    def places(self, limit: int) -> Tensor:
        """Where this rank's samples are among all of them, in its order; the first `limit`."""
        return torch.cat(torch.arange(self.num).split(self.batch_size)[self.rank :: self.world_size])[:limit]

    def rounds(self) -> Iterator[tuple[Batch, bool]]:
        """As many batches on every rank, each with whether it counts; a rank that has run out takes the first again."""
        batches = torch.arange(self.num).split(self.batch_size)
        mine = batches[self.rank :: self.world_size]
        for batch in mine:
            yield self.samples.fetch(batch), True
        for _ in range(len(mine), math.ceil(len(batches) / self.world_size)):
            yield self.samples.fetch(batches[0]), False


class _Fetch:
    """What a data worker runs: the micro-batches of one step."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, share: Tensor) -> list[Batch]:
        return [self.samples.fetch(micro) for micro in share]


def choose_workers(samples: Samples, world_size: int = 1) -> int:
    """Data workers where none were asked for: none unless samples are decoded, then this rank's cores less one."""
    if not samples.decodes:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // world_size - 1))
