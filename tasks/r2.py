"""The share of the variance that a regression explains, of any number of rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import R2Score


class R2(R2Score):
    """1 - squared error / variance; NaN of fewer than two rows, which have no variance (torchmetrics raises)."""

    def compute(self) -> Tensor:
        if int(self.total) < 2:
            return torch.tensor(torch.nan, device=self.total.device)
        return super().compute()
