"""Gradients that are not finite or explode."""

from __future__ import annotations

import math
import statistics
from typing import Any, ClassVar, Literal

from torch import Tensor

from launcher.core.algorithm import Monitor
from launcher.core.run import Run

SMALLEST_MAD = 0.01
"""Of log norms: norms that differ by a hundredth are not told apart."""


class GradientHealth(Monitor):
    """Holds the norm of each step's gradient against those of the steps before it, and warns, skips the step or stops.

    Unhealthy is a norm that is not finite, or whose logarithm x lies more than `threshold` robust deviations above the
    median m of the last `window`: z = 0.6745 (x - m) / MAD, with MAD = median |x_i - m| (Iglewicz and Hoaglin, 1993,
    whose threshold of 3.5 is for normal data; gradients have a longer tail). It is judged from `warmup` norms on;
    what is not finite, from the first step. Finite norms enter the history whether or not they are healthy: gradients
    that have grown for good are taken for normal once they are half of the window.

    `skip` and `stop` leave the step out, for which each step has to wait for its norm: on a GPU that is one number read
    a step. `warn` reads the norms of several steps at once, at log lines. With a loss scale (fp16), norms that are not
    finite are the scale's own business, which leaves such steps out by itself.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"grad_norm"})

    def __init__(
        self,
        action: Literal["warn", "skip", "stop"] = "warn",
        threshold: float = 8.0,
        window: int = 100,
        warmup: int = 20,
    ) -> None:
        self.action, self.threshold, self.window, self.warmup = action, threshold, window, min(warmup, window)
        self.history: list[float] = []
        self.num_unhealthy = 0
        self._unread: list[Tensor] = []
        self._first = 0  # the step of the first unread norm, counted from 1

    def gradients(self, run: Run) -> bool:
        norm = run.parallel.grad_norm(run)
        step = run.progress.step + 1
        if self.action == "warn":
            if not self._unread:
                self._first = step
            self._unread.append(norm)
            if len(self._unread) >= self.window:
                self._read(run)
            return False
        found = self.judge(float(norm), run.parallel.scaler is not None)
        if found is None:
            return False
        self._tell(run, step, found)
        if self.action == "stop":
            run.stop = run.stop or f"the gradient at step {step}: {found}"
        return True

    def log(self, run: Run) -> dict[str, float]:
        self._read(run)
        return {"unhealthy_gradients": float(self.num_unhealthy)}

    def judge(self, norm: float, scaled: bool = False) -> str | None:
        """What is wrong with a norm, or None; takes it into the history."""
        if not math.isfinite(norm):
            return None if scaled else f"its norm is {norm}"
        value = math.log(max(norm, 1e-300))
        score = self.score(value)
        self.history = [*self.history, value][-self.window :]
        if score <= self.threshold:
            return None
        return f"its norm of {norm:.4g} is {score:.1f} deviations above the median of the last {len(self.history) - 1}"

    def score(self, value: float) -> float:
        """The robust z-score of the logarithm of a norm; zero before there is a history."""
        if len(self.history) < self.warmup:
            return 0.0
        median = statistics.median(self.history)
        mad = statistics.median(abs(each - median) for each in self.history)
        return 0.6745 * (value - median) / max(mad, SMALLEST_MAD)

    def _read(self, run: Run) -> None:
        if not self._unread:
            return
        import torch

        norms = torch.stack(self._unread).tolist()
        self._unread = []
        for step, norm in enumerate(norms, start=self._first):
            found = self.judge(norm, run.parallel.scaler is not None)
            if found is not None:
                self._tell(run, step, found)

    def _tell(self, run: Run, step: int, found: str) -> None:
        self.num_unhealthy += 1
        ending = {"warn": "", "skip": "; the step is left out", "stop": "; the run ends"}[self.action]
        if run.parallel.is_main:
            run.recorder.warn(f"the gradient at step {step}: {found}{ending}")

    def state_dict(self) -> dict[str, Any]:
        unread = [float(norm) for norm in self._unread]
        return {"history": self.history, "num_unhealthy": self.num_unhealthy, "unread": unread, "first": self._first}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        from torch import tensor

        self.history, self.num_unhealthy = state["history"], state["num_unhealthy"]
        self._unread, self._first = [tensor(norm) for norm in state["unread"]], state["first"]
