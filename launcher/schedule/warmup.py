"""Warm-up: the rate rises to where the schedule starts, then the schedule runs."""

from __future__ import annotations

import math
from typing import Any, Literal

from torch.optim.lr_scheduler import LRScheduler


class Warmup:
    """Scales the schedule's first rate by a rising factor for `num_steps` steps, then hands over to the schedule.

    Step t of the warm-up (0 is the first) has the factor x = (t + 1) / (num_steps + 1), or (1 - cos(pi x)) / 2 with
    `shape="cosine"`: the first step already moves, and step `num_steps`, the first one after, has the full rate.
    (transformers' `get_linear_schedule_with_warmup` divides t by num_steps, so its first step has rate zero.)
    """

    def __init__(self, scheduler: LRScheduler, num_steps: int, shape: Literal["linear", "cosine"] = "linear") -> None:
        self.scheduler = scheduler
        self.num_steps = num_steps
        self.shape = shape
        self.count = 0
        self.first = [group["lr"] for group in self.groups]
        # torch warns where no step of the optimizer has gone before the schedule's first. Here one always has, but
        # half precision may have left it out, and a resumed run has taken it in another process.
        scheduler.optimizer._opt_called = True  # type: ignore[attr-defined]
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
        else:
            self.scheduler.step()

    def seek(self, num_steps: int) -> None:
        """Take up the position after `num_steps` steps of this schedule, whatever rates the optimizer holds now."""
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
        return {"count": self.count, "first": self.first, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up the position; the rates themselves come back with the optimizer's state."""
        self.count = state["count"]
        self.first = state["first"]
        self.scheduler.load_state_dict(state["scheduler"])
