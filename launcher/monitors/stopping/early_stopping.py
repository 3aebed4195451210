"""Early stopping: no improvement for some evaluations ends the run."""

from __future__ import annotations

import math
from typing import Any, Literal

from launcher.core.run import Run
from launcher.errors import ConfigError, did_you_mean

from .patience import Patience


class EarlyStopping(Patience):
    """Sets `run.stop` when `metric` has not improved by more than `min_delta` for `patience` evaluations (Prechelt, 1998)."""

    def __init__(
        self,
        metric: str = "val/loss",
        direction: Literal["minimize", "maximize"] = "minimize",
        patience: int = 5,
        min_delta: float = 0.0,
        warmup: int | str = 0,
    ) -> None:
        super().__init__(patience, min_delta, warmup)
        self.metric, self.sign = metric, 1.0 if direction == "maximize" else -1.0
        self.best: float | None = None
        self.waited = 0

    def eval_end(self, run: Run, metrics: dict[str, float]) -> None:
        known = metrics if self.metric in metrics else run.metrics  # train/loss is no evaluation's
        if self.metric not in known:
            raise ConfigError(
                f"stopping: no metric {self.metric!r} in the evaluation.{did_you_mean(self.metric, metrics)}"
            )
        if not self.counts(run):
            return
        value = self.sign * known[self.metric]
        if math.isfinite(value) and (self.best is None or value > self.best + self.min_delta):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        self.give_up(run, self.metric, self.waited)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "num_evaluations": self.num_evaluations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.waited, self.num_evaluations = state["best"], state["waited"], state["num_evaluations"]
