"""Data parallel over processes: each has the whole model, and gradients are averaged while backward runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from .batch_norm import synchronise
from .distributed import Distributed
from .shares import Shares


class DDP(Distributed):
    """`torch.nn.parallel.DistributedDataParallel` through Accelerate (Li et al., 2020).

    Its hooks average over the ranks; `forward_backward` scales each rank's sum so that the average is the gradient
    of the mean over the whole step. Batch norms take their statistics over all ranks. `timeout_s` ends a collective
    that some rank never joins. With one process it is that process and nothing is exchanged.
    """

    @property
    def engine(self) -> str | None:
        return "torch DistributedDataParallel" if self.world_size > 1 else None

    @classmethod
    def shares(cls, settings: Mapping[str, Any]) -> Shares:
        ranks = int(settings["num_processes"])
        return Shares(samples=ranks, gradient_copies=1 if ranks > 1 else 0)

    def prepare(self, model: nn.Module) -> nn.Module:
        if self.world_size > 1:
            synchronise(model)
        wrapped: nn.Module = self.accelerator.prepare_model(model)
        return wrapped

    def unwrap(self, model: nn.Module) -> nn.Module:
        inner: nn.Module = self.accelerator.unwrap_model(model)
        return inner

    def accumulating(self, model: nn.Module) -> contextlib.AbstractContextManager[object]:
        if self.world_size == 1:
            return super().accumulating(model)
        context: contextlib.AbstractContextManager[object] = model.no_sync()  # type: ignore[operator]  # DDP's
        return context
