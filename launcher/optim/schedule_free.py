"""Schedule-free AdamW: an average of the weights takes the place of a falling rate."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from launcher.adapters.torch import (
    foreach_add_,
    foreach_addcmul_,
    foreach_div,
    foreach_lerp_,
    foreach_mul_,
    foreach_sqrt,
)

from .base import GroupOptimizer, portions


class ScheduleFree(GroupOptimizer):
    """Defazio et al., 2024, "The Road Less Scheduled", Algorithm 1 with AdamW as its base.

    y = (1 - beta1) * z + beta1 * x         where the gradient is taken
    v = beta2 * v + (1 - beta2) * gradient^2
    z = z - lr * (gradient / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay * y)
    x = (1 - c) * x + c * z                 c = m^2 / sum of m^2 so far, m being the largest lr so far: the model's weights

    The parameters hold y; `averages` gives x, which is what is evaluated and exported. A checkpoint is of y and z. The
    rate is meant to stay where the warm-up leaves it: `scheduler=constant scheduler.warmup=0.05`. The statistics of a
    batch norm are those of y.

    Reference implementation: facebookresearch/schedule_free, `AdamWScheduleFree`, which updates y without storing x as
    here. Deviations: what is counted of steps is counted for each weight, not for its group; the warm-up is the scheduler's, not the optimizer's own; x
    is put into a copy of the model, where the reference moves the parameters to x and back and loses their last bits;
    gradients are left as they are.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"full_params", "full_state"})
    """Of the way of running in parallel: x is put together of weights and state."""

    def __init__(
        self,
        params: ParamsT,
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def averages(self) -> dict[Tensor, Tensor]:
        """The weights x of the model that is evaluated and exported, by the parameters, which hold y."""
        found = {}
        for group in self.param_groups:
            for weight in group["params"]:
                if weight in self.state:
                    found[weight] = weight.lerp(self.state[weight]["z"], 1 - 1 / group["betas"][0])
        return found

    def update(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        for steps, same in self.counted(weights):
            shares: dict[float, list[Tensor]] = {}
            for weight in same:
                state = self.state[weight]
                if "z" not in state:
                    state["z"], state["exp_avg_sq"] = weight.detach().clone(), torch.zeros_like(weight)
                    state["lr_max"] = state["weight_sum"] = 0.0
                state["lr_max"] = max(group["lr"], state["lr_max"])
                state["weight_sum"] += state["lr_max"] ** 2
                share = state["lr_max"] ** 2 / state["weight_sum"] if state["weight_sum"] else 0.0
                shares.setdefault(share, []).append(weight)
            for share, alike in shares.items():
                self._move(group, alike, steps, share)

    def _move(self, group: dict[str, Any], weights: list[Tensor], num_steps: int, share: float) -> None:
        """Weights of which this is the step `num_steps`, and `share` the part of z in their average."""
        lr, eps, decay = group["lr"], group["eps"], group["weight_decay"]
        beta1, beta2 = group["betas"]
        root = (1 - beta2**num_steps) ** 0.5
        states = [self.state[weight] for weight in weights]
        gradients: list[Any] = [weight.grad for weight in weights]
        zs, squares = [state["z"] for state in states], [state["exp_avg_sq"] for state in states]
        for y, g, z, v in portions(weights, gradients, zs, squares):
            foreach_mul_(v, beta2)
            foreach_addcmul_(v, g, g, value=1 - beta2)
            size = foreach_sqrt(v)
            foreach_add_(size, eps * root)
            direction = foreach_div(g, size)  # over `root`, which goes into the numbers below
            if decay:
                foreach_add_(direction, y, alpha=decay / root)
            # x does not stand anywhere: y moves by what both of its parts do.
            foreach_lerp_(y, z, share)
            foreach_add_(y, direction, alpha=lr * root * (beta1 * (1 - share) - 1))
            foreach_add_(z, direction, alpha=-lr * root)
