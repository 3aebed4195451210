"""How far a step moves the weights, as a share of their size."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from launcher.adapters.torch import foreach_norm, foreach_sub
from launcher.core.algorithm import Monitor
from launcher.core.run import Run


class UpdateRatio(Monitor):
    """Logs `update_ratio`: ||w_after - w_before|| / ||w_before|| of all trained weights, over the step at each log line.

    About 1e-3 is common for a healthy run; much more is a rate too high, much less one too low. The weights are copied
    once for each log line, and nothing is done at the steps between.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"full_params"})

    def __init__(self) -> None:
        self._before: list[Tensor] | None = None
        self._ratio: Tensor | None = None

    def gradients(self, run: Run) -> None:
        if run.plan.logs(run.progress.step + 1):
            with torch.no_grad():
                self._before = [weight.detach().clone() for weight in _weights(run)]

    @torch.no_grad()
    def after_step(self, run: Run) -> None:
        if self._before is not None:
            moved = foreach_sub(_weights(run), self._before)
            self._ratio = _norm(moved) / _norm(self._before).clamp_min(1e-12)
            self._before = None

    def log(self, run: Run) -> dict[str, float]:
        ratio, self._ratio = self._ratio, None
        return {} if ratio is None else {"update_ratio": float(ratio)}


def _weights(run: Run) -> list[Tensor]:
    groups = run.main.optimizer.param_groups
    return [weight for group in groups for weight in group["params"] if weight.numel()]


def _norm(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack(foreach_norm(list(tensors))))
    return norm
