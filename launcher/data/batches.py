"""Batches of a data set in the order of seed and epoch, cut over the ranks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import torch
from torch import Tensor

from launcher.errors import ConfigError
from launcher.process.seeds import derive
from launcher.process.signals import held_back, obey_parent_alone

from .samples import Batch, Samples, TensorSamples

CHUNK_BYTES = 4 << 20
"""In-memory batches are gathered several steps at a time, up to about this many bytes."""


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
