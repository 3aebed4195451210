"""The norm of the gradient."""

from __future__ import annotations

from torch import Tensor

from launcher.core.algorithm import Monitor
from launcher.core.run import Run


class GradientNorm(Monitor):
    """Logs `gradient_norm`: the 2-norm of the whole gradient before clipping, of the step at each log line."""

    def __init__(self) -> None:
        self.norm: Tensor | None = None

    def gradients(self, run: Run) -> None:
        if run.plan.logs(run.progress.step + 1):
            self.norm = run.parallel.grad_norm(run)

    def log(self, run: Run) -> dict[str, float]:
        norm, self.norm = self.norm, None
        return {} if norm is None else {"gradient_norm": float(norm)}
