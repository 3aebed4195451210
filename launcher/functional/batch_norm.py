"""Batch norms whose running statistics stay."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from launcher.adapters.torch import BatchNorm


@contextlib.contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Batch norms take the batch's statistics as ever, and their running ones stay: for a forward pass that is one too many.

    A share of zero leaves them as they are, bit for bit, and the graph as it is: backward finds the tensors it expects.
    """
    norms = [module for module in model.modules() if isinstance(module, BatchNorm) and module.track_running_stats]
    before = [(module.momentum, module.num_batches_tracked) for module in norms]
    for module in norms:
        module.momentum = 0.0
        if module.num_batches_tracked is not None:
            module.num_batches_tracked = module.num_batches_tracked.clone()
    try:
        yield
    finally:
        for module, (momentum, count) in zip(norms, before, strict=True):
            module.momentum, module.num_batches_tracked = momentum, count
