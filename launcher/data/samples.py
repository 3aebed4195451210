"""Samples, the order they come in, and the batches of one rank.

The order is a function of (seed, epoch) and of nothing else: not of the number of ranks, of the micro-batches,
of the data workers, nor of where a run was killed. A position in it is the number of the step, so a resume has
nothing to restore: it asks for the batches from that step on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from launcher.errors import ConfigError

Batch = dict[str, Tensor]
"""Named tensors whose first dimension runs over the samples."""


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
