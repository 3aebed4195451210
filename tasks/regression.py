"""The metrics of a quantity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import Metric, MetricCollection


def r2() -> Metric:
    """1 - squared error / variance; NaN of fewer than two rows, which have no variance (torchmetrics raises)."""
    from torchmetrics import R2Score

    class R2(R2Score):
        def compute(self) -> Tensor:
            few = int(self.total) < 2
            return torch.tensor(torch.nan, device=self.total.device) if few else super().compute()

    return R2()


def regression_metrics(*errors: str) -> MetricCollection:
    """`rmse`, `mae` and `r2`, and a root mean squared error for each of the names in `errors`."""
    from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection

    metrics: dict[str, Metric | MetricCollection] = {
        "rmse": MeanSquaredError(squared=False),
        "mae": MeanAbsoluteError(),
        "r2": r2(),
    }
    metrics |= {name: MeanSquaredError(squared=False) for name in errors}
    return MetricCollection(metrics, compute_groups=False)
