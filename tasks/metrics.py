"""Metrics whose sums are kept in float64, so that neither the offset of a quantity nor the number of samples shows in them.

Import this module where the metrics are made: it brings torchmetrics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from launcher.functional.calibration import NUM_BINS

DEVICES_WITHOUT = ("mps",)
"""Devices without float64: sums are kept on the CPU there."""


class _Sums(Metric):
    """A metric of float64 sums, which stay where there is float64."""

    full_state_update = False

    def _apply(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Metric:
        if fn(torch.zeros(1)).device.type in DEVICES_WITHOUT:
            return self
        moved: Metric = super()._apply(fn, *args, **kwargs)  # type: ignore[assignment]  # torch says Module
        return moved


class QuantityErrors(_Sums):
    """`rmse`, `mae` and `r2` of a quantity, as scikit-learn has them in float64 whatever the quantity's scale and offset.

    The variance is taken about each batch's own mean, and batches and ranks are joined by the formula of Chan, Golub
    and LeVeque, 1983, "Algorithms for Computing the Sample Variance": the difference of two large sums, in which an
    offset drowns the spread, is not there. Errors and labels come in units of `unit`, `rmse` and `mae` are in the
    quantity's own. `names` are those that are reported, each behind `prefix`.
    """

    moments: Tensor  # number, mean of the labels, their squares about it, squared errors, absolute errors

    def __init__(self, unit: float = 1.0, names: tuple[str, ...] = ("rmse", "mae", "r2"), prefix: str = "") -> None:
        super().__init__()
        self.unit, self.names, self.beginning = unit, names, prefix
        self.add_state("moments", torch.zeros(5, dtype=torch.float64), dist_reduce_fx=joined)

    def update(self, error: Tensor, label: Tensor) -> None:
        """Count samples: `error` is prediction less label, both [samples], float64 where the device has it."""
        if not len(label):
            return
        error, label = (each.detach().to(self.moments.device).double() for each in (error, label))
        mean = label.mean()
        parts = (torch.full_like(mean, len(label)), mean, (label - mean).square().sum())
        own = torch.stack([*parts, error.square().sum(), error.abs().sum()])
        self.moments = joined(torch.stack([self.moments, own]))

    def compute(self) -> dict[str, Tensor]:
        num, _, spread, squared, absolute = self.moments.unbind()
        if num < 2:  # there is no variance, as scikit-learn has it
            r2 = torch.full_like(num, torch.nan)
        elif spread == 0:
            r2 = (squared == 0).to(num.dtype)
        else:
            r2 = 1 - squared / spread
        found = {"rmse": self.unit * (squared / num).sqrt(), "mae": self.unit * absolute / num, "r2": r2}
        return {f"{self.beginning}{name}": found[name] for name in self.names}


def joined(parts: Tensor) -> Tensor:
    """The moments of several sets of samples together, from those of each: [sets, 5] to [5]."""
    num = parts[:, 0]
    share = num / num.sum().clamp_min(1)
    mean = (share * parts[:, 1]).sum()
    apart = (num * (parts[:, 1] - mean).square()).sum()
    return torch.cat([torch.stack([num.sum(), mean, parts[:, 2].sum() + apart]), parts[:, 3:].sum(0)])


class CalibrationError(_Sums):
    """The expected calibration error of logits over equally wide bins: `functional.calibration`, batch by batch.

    Of torchmetrics' own it differs in that logits are always taken for logits, also where all of a batch happen to
    lie between 0 and 1, that sums are float64, and that no sample is kept.
    """

    gaps: Tensor  # of each bin, how many were right less the sum of the confidences
    num: Tensor

    def __init__(self, num_bins: int = NUM_BINS) -> None:
        super().__init__()
        self.edges = torch.from_numpy(np.linspace(0, 1, num_bins + 1))
        self.add_state("gaps", torch.zeros(num_bins, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count samples: logits [samples, classes] and class numbers [samples]."""
        logits, labels = logits.detach().to(self.gaps.device).double(), labels.to(self.gaps.device)
        confidence, found = logits.softmax(dim=-1).max(dim=-1)
        edges = self.edges = self.edges.to(self.gaps.device)
        bins = (torch.bucketize(confidence, edges, right=True) - 1).clamp_(0, len(edges) - 2)
        self.gaps = self.gaps.index_add(0, bins, (found == labels).double() - confidence)
        self.num = self.num + len(labels)

    def compute(self) -> Tensor:
        return self.gaps.abs().sum() / self.num
