"""Early stopping: no improvement for some evaluations ends the run."""

from __future__ import annotations

from typing import Any, Literal

from launcher.algorithm import Monitor
from launcher.errors import ConfigError, did_you_mean
from launcher.run import Run


class EarlyStopping(Monitor):
    """Sets `run.stop` when `metric` has not improved by more than `min_delta` for `patience` evaluations (Prechelt, 1998)."""

    def __init__(
        self, metric: str = "val/loss", direction: Literal["minimize", "maximize"] = "minimize", patience: int = 5, min_delta: float = 0.0
    ) -> None:
        self.metric, self.sign = metric, 1.0 if direction == "maximize" else -1.0
        self.patience, self.min_delta = patience, min_delta
        self.best: float | None = None
        self.waited = 0

    def eval_end(self, run: Run, metrics: dict[str, float]) -> None:
        if self.metric not in metrics:
            raise ConfigError(f"stopping: no metric {self.metric!r} in the evaluation.{did_you_mean(self.metric, metrics)}")
        value = self.sign * metrics[self.metric]
        if value == value and (self.best is None or value > self.best + self.min_delta):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            run.stop = f"{self.metric} has not improved for {self.patience} evaluations"

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]
