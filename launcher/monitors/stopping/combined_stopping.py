"""Early stopping by several metrics at once."""

from __future__ import annotations

import math
from typing import Any

from launcher.core.run import Run
from launcher.errors import ConfigError, did_you_mean

from .patience import Patience


class CombinedStopping(Patience):
    """Sets `run.stop` when a weighted sum of metrics has not improved by more than `min_delta` for `patience` evaluations.

    The score of an evaluation is sum_i w_i n_i / sum_i |w_i|. A weight is positive where more of a metric is better and
    negative where less is. n_i = (v_i - low_i) / (high_i - low_i), by `ranges` where that names the metric, else by the
    smallest and largest value of this run so far: as that range grows, all earlier scores are taken anew. A metric that
    has not changed yet is 0. Without `weights`, the objective and the validation loss count alike.

    Raises ConfigError where all weights are zero, or a range is empty.
    """

    def __init__(
        self,
        weights: dict[str, float] | None = None,
        ranges: dict[str, list[float]] | None = None,
        patience: int = 5,
        min_delta: float = 0.0,
        warmup: int | str = 0,
    ) -> None:
        super().__init__(patience, min_delta, warmup)
        self.weights, self.ranges = weights or {}, ranges or {}
        if weights and not any(weights.values()):
            raise ConfigError("stopping.combined.weights: every weight is zero")
        for name, given in self.ranges.items():
            if len(given) != 2 or not given[0] < given[1]:
                raise ConfigError(f"stopping.combined.ranges: {name} is {given}; expected [low, high]")
        self.history: list[dict[str, float]] = []
        """The weighted metrics of every evaluation that counts."""

    def eval_end(self, run: Run, metrics: dict[str, float]) -> None:
        known = run.metrics | metrics
        if not self.weights:
            self.weights = {"val/loss": -1.0, run.objective[0]: 1.0 if run.objective[1] == "maximize" else -1.0}
        for name in self.weights:
            if name not in known:
                raise ConfigError(f"stopping: no metric {name!r} in the evaluation.{did_you_mean(name, known)}")
        if not self.counts(run):
            return
        self.history.append({name: known[name] for name in self.weights})
        best, reached = None, -1
        for position, score in enumerate(self.scores()):
            if score == score and (best is None or score > best + self.min_delta):
                best, reached = score, position
        self.give_up(run, "the combined score", len(self.history) - 1 - reached)

    def scores(self) -> list[float]:
        """The score of each evaluation, by the ranges as they are now; NaN where a metric is NaN or infinite."""
        total = sum(abs(weight) for weight in self.weights.values())
        scores = [0.0] * len(self.history)
        for name, weight in self.weights.items():
            values = [each[name] for each in self.history]
            seen = [value for value in values if math.isfinite(value)] or [0.0]
            low, high = self.ranges.get(name, [min(seen), max(seen)])
            for position, value in enumerate(values):
                part = (value - low) / (high - low) if high > low else 0.0
                if not math.isfinite(value):
                    part = math.nan
                scores[position] += weight / total * part
        return scores

    def state_dict(self) -> dict[str, Any]:
        return {"history": [list(each.items()) for each in self.history], "num_evaluations": self.num_evaluations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = [dict(each) for each in state["history"]]
        self.num_evaluations = state["num_evaluations"]
