"""Lion: the sign of an interpolated momentum."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from launcher.adapters.torch import foreach_add_, foreach_lerp, foreach_lerp_, foreach_mul_, foreach_sign_

from .base import GroupOptimizer, portions


class Lion(GroupOptimizer):
    """Chen et al., 2023, "Symbolic Discovery of Optimization Algorithms", Algorithm 2.

    u = sign(beta1 * m + (1 - beta1) * gradient)
    w = w - lr * (u + weight_decay * w)
    m = beta2 * m + (1 - beta2) * gradient

    One tensor of state a weight. Reference implementation: google/automl, `lion/lion_pytorch.py`, which takes the
    decay first, as here: the same to rounding. No deviations.
    """

    elementwise: ClassVar[bool] = True
    """A part of a parameter is updated as that part of the whole is."""

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def update(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        lr, decay = group["lr"], group["weight_decay"]
        beta1, beta2 = group["betas"]
        gradients: list[Any] = [weight.grad for weight in weights]
        states = [self.state[weight] for weight in weights]
        for weight, state in zip(weights, states, strict=True):
            if not state:
                state["exp_avg"] = torch.zeros_like(weight)
        momenta = [state["exp_avg"] for state in states]
        for w, g, m in portions(weights, gradients, momenta):
            signs = foreach_lerp(m, g, 1 - beta1)
            foreach_sign_(signs)
            if decay:
                foreach_mul_(w, 1 - lr * decay)
            foreach_add_(w, signs, alpha=-lr)
            foreach_lerp_(m, g, 1 - beta2)
