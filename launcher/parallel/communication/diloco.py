"""Local training whose averages are steps of an outer optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .local_sgd import LocalSGD


class DiLoCo(LocalSGD):
    """Douillard et al., 2023, "DiLoCo: Distributed Low-Communication Training of Language Models", algorithm 1.

    After every `period` steps Δ = w - mean(w_i), with w the weights that the ranks set out from and w_i what each made
    of them; then w moves by SGD with Nesterov momentum on Δ (Sutskever et al., 2013, as torch has it), and every rank
    goes on from there:

    v = momentum * v + Δ,     w = w - outer_lr * (Δ + momentum * v)

    Running statistics of batch norms take their mean. With `outer_lr=1 momentum=0` it is local SGD.
    """

    def __init__(self, period: int = 50, outer_lr: float = 0.7, momentum: float = 0.9) -> None:
        super().__init__(period)
        self.outer_lr = outer_lr
        self.momentum = momentum
        self.origin: list[Tensor] = []
        self.velocity: list[Tensor] = []

    def start(self, model: nn.Module, num_ranks: int) -> None:
        super().start(model, num_ranks)
        weights = self.shared[: len(self.names)]
        self.origin = [weight.clone() for weight in weights]
        self.velocity = [torch.zeros_like(weight) for weight in weights]

    @torch.no_grad()
    def bring_together(self) -> None:
        means = self.mean()
        count = len(self.origin)
        for origin, velocity, mean in zip(self.origin, self.velocity, means[:count], strict=True):
            delta = origin - mean
            velocity.mul_(self.momentum).add_(delta)
            origin.sub_(delta.add_(velocity, alpha=self.momentum), alpha=self.outer_lr)
        for tensor, value in zip(self.shared, [*self.origin, *means[count:]], strict=True):
            tensor.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return {"origin": list(self.origin), "velocity": list(self.velocity)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, ours in (("origin", self.origin), ("velocity", self.velocity)):
            for tensor, saved in zip(ours, state[name], strict=True):
                tensor.copy_(saved)
