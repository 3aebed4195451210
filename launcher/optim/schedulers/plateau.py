"""Plateau: the rate is cut when evaluations stop getting better."""

from __future__ import annotations

from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau


class Plateau(ReduceLROnPlateau):
    """The rate times `factor` when `metric` has not improved by more than `min_delta` for `patience` evaluations.

    torch's `ReduceLROnPlateau`, told of each evaluation after the warm-up by its metrics. `cooldown` evaluations after
    a cut are not counted. Deviations: `patience` is the number of evaluations without improvement that make a cut, as
    for early stopping (torch cuts at one more), and the improvement is absolute (a relative one has no meaning for a
    metric that may be zero or negative).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        metric: str = "val/loss",
        direction: Literal["minimize", "maximize"] = "minimize",
        factor: float = 0.3,
        patience: int = 5,
        min_delta: float = 0.0,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        self.metric = metric
        super().__init__(
            optimizer,
            mode="max" if direction == "maximize" else "min",
            factor=factor,
            patience=patience - 1,
            threshold=min_delta,
            threshold_mode="abs",
            cooldown=cooldown,
            min_lr=min_lr,
        )
