"""The exponential average of the weights."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from torch import Tensor, nn

from launcher.adapters.torch import foreach_lerp_
from launcher.core.algorithm import Algorithm
from launcher.core.run import Run


class EMA(Algorithm):
    """After step t, counted from 0: average = d average + (1 - d) weights, with d = min(decay, (1 + t) / (10 + t)).

    Polyak and Juditsky (1992), with the warm-up of TensorFlow's ExponentialMovingAverage. The average starts at the
    first weights, takes in floating-point buffers (the statistics of batch norm) like weights and copies the others. It
    is what evaluations judge and what is exported; training goes on with the weights themselves.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"full_params"})

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = decay
        self.num_updates = 0
        self.average: nn.Module | None = None
        self._saved: dict[str, Tensor] | None = None

    def fit_start(self, run: Run) -> None:
        live, average = _tensors(run.parallel.unwrap(run.main.model)), _tensors(self._module(run))
        pairs = list(zip(average, live, strict=True))
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    def after_step(self, run: Run) -> None:
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        averages, weights = zip(*self._averaged, strict=True)
        foreach_lerp_(averages, weights, 1 - decay)
        for average, value in self._copied:
            average.copy_(value)

    def eval_model(self, run: Run, model: nn.Module) -> nn.Module:
        return self._module(run)

    def state_dict(self) -> dict[str, Any]:
        average = self._saved if self.average is None else self.average.state_dict()
        return {"num_updates": self.num_updates, "average": average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.num_updates, self._saved = state["num_updates"], state["average"]
        if self.average is not None and self._saved is not None:
            self.average.load_state_dict(self._saved)

    def _module(self, run: Run) -> nn.Module:
        """The average as a model of its own; made when it is first asked for, as only the loop's start knows the last surgery."""
        if self.average is None:
            self.average = copy.deepcopy(run.parallel.unwrap(run.main.model)).requires_grad_(False).eval()
            if self._saved is not None:
                self.average.load_state_dict(self._saved)
        return self.average


def _tensors(model: nn.Module) -> list[Tensor]:
    """Weights and buffers in an order that a copy of the model shares, each once."""
    return [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
