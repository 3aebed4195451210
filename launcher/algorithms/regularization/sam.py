"""Sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from launcher.adapters.torch import foreach_abs, foreach_add_, foreach_copy_, foreach_mul_, foreach_norm
from launcher.core.algorithm import Algorithm
from launcher.core.run import Run
from launcher.data.samples import Batch
from launcher.functional.batch_norm import statistics_kept


class SAM(Algorithm):
    """The optimizer's step from w with the gradient at w + e, where e = rho g / |g| (Foret et al., 2021, equations 2, 3).

    With `adaptive`, e = rho T^2 g / |T g| where T = |w|, entry by entry (Kwon et al., "ASAM", 2021, equation 10), with
    which rho is about ten times as large. A step costs two of the plain ones. |g| is the norm over all weights and, as
    the gradient is, over the whole batch (the paper takes each device's own); statistics of batch norm are moved by the
    first pass alone.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"closure", "local_gradients"})

    def __init__(self, rho: float = 0.05, adaptive: bool = False) -> None:
        self.rho = rho
        self.adaptive = adaptive

    @torch.no_grad()
    def step(self, run: Run, batches: list[Batch], closure: Callable[[], Tensor]) -> None:
        groups = run.main.optimizer.param_groups
        parameters = [each for group in groups for each in group["params"] if each.grad is not None]
        moves = [each.grad.clone() for each in parameters]
        if self.adaptive:
            sizes = foreach_abs(parameters)
            foreach_mul_(moves, sizes)
        norm = torch.linalg.vector_norm(torch.stack(foreach_norm(moves)))
        if self.adaptive:
            foreach_mul_(moves, sizes)
        foreach_mul_(moves, self.rho / norm.clamp_min(torch.finfo(norm.dtype).tiny))
        before = [each.clone() for each in parameters]
        foreach_add_(parameters, moves)
        with torch.enable_grad(), statistics_kept(run.main.model):
            closure()
        foreach_copy_(parameters, before)
        run.parallel.step(run)
