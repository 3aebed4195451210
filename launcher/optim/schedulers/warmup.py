"""Warm-up: the rate rises to where the schedule starts, then the schedule runs."""

from __future__ import annotations

import math
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from launcher.adapters.torch import count_as_stepped
from launcher.errors import ConfigError, did_you_mean


class Warmup:
    """Scales the schedule's first rate by a rising factor for `num_steps` steps, then hands over to the schedule.

    Step t of the warm-up (0 is the first) has the factor x = (t + 1) / (num_steps + 1), or (1 - cos(pi x)) / 2 with
    `shape="cosine"`: the first step already moves, and step `num_steps`, the first one after, has the full rate.
    (transformers' `get_linear_schedule_with_warmup` divides t by num_steps, so its first step has rate zero.)
    """

    def __init__(self, scheduler: LRScheduler, num_steps: int, shape: str = "linear") -> None:
        self.scheduler = scheduler
        self.num_steps = num_steps
        self.shape = shape
        self.count = 0
        self.metric = getattr(scheduler, "metric", None)  # of a schedule that follows evaluations
        self.first = [group["lr"] for group in self.groups]
        # torch warns where no step of the optimizer has gone before the schedule's first. Here one always has, but
        # half precision may have left it out, and a resumed run has taken it in another process.
        count_as_stepped(scheduler.optimizer)
        self._scale()

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups as they are now: loading its state makes new ones."""
        groups: list[dict[str, Any]] = self.scheduler.optimizer.param_groups
        return groups

    def step(self) -> None:
        """One step of the optimizer has been taken."""
        self.count += 1
        if self.count <= self.num_steps:
            self._scale()
        elif self.metric is None:
            self.scheduler.step()

    def evaluated(self, metrics: dict[str, float]) -> tuple[float, float] | None:
        """An evaluation is done; returns the first group's rate before and after, where it has changed.

        Raises ConfigError where the schedule's metric is not among the `metrics`.
        """
        if self.metric is None or self.count < self.num_steps:
            return None
        if self.metric not in metrics:
            raise ConfigError(
                f"scheduler.metric: no metric {self.metric!r} in the evaluation.{did_you_mean(self.metric, metrics)}"
            )
        before = self.get_last_lr()
        self.scheduler.step(metrics[self.metric])  # type: ignore[arg-type]  # a plateau takes a metric
        after = self.get_last_lr()
        return None if after == before else (before[0], after[0])

    def seek(self, num_steps: int) -> None:
        """Take up the position after `num_steps` steps of this schedule, whatever rates the optimizer holds now.

        What follows evaluations (`metric`) can not be told from a number of steps: its state is loaded instead.
        """
        self._scale()
        while self.count < num_steps:
            self.step()

    def _scale(self) -> None:
        done = self.count >= self.num_steps
        x = (self.count + 1) / (self.num_steps + 1)
        factor = x if self.shape == "linear" else (1 - math.cos(math.pi * x)) / 2
        for group, rate in zip(self.groups, self.first, strict=True):
            group["lr"] = rate if done else rate * factor

    def get_last_lr(self) -> list[float]:
        """The rate of each group now."""
        return [float(group["lr"]) for group in self.groups]

    def state_dict(self) -> dict[str, Any]:
        schedule = self.scheduler.state_dict()
        return {"count": self.count, "num_steps": self.num_steps, "first": self.first, "scheduler": schedule}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up the position; the rates themselves come back with the optimizer's state."""
        self.count = state["count"]
        self.num_steps = state["num_steps"]
        self.first = state["first"]
        self.scheduler.load_state_dict(state["scheduler"])
