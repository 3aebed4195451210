"""Muon: the momentum of a matrix made orthogonal; AdamW for everything else."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

from launcher.adapters.torch import foreach_lerp_, foreach_mul_, has_bfloat16_vectors, has_matrix_units

from .base import GroupOptimizer, portions

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the iteration; chosen for the steepest slope at zero, so that five rounds bring singular values to within 0.7 to 1.2."""
NARROW_FROM = 128
"""The smaller side of a matrix from which vectors of bfloat16 are worth it: half the time at 256, a third more at 64."""
TOGETHER = 1 << 18
"""Elements of the matrices that go through the iteration at once."""


class Muon(GroupOptimizer):
    """Jordan et al., 2024, "Muon: An optimizer for hidden layers in neural networks".

    m = momentum * m + (1 - momentum) * gradient
    u = momentum * m + (1 - momentum) * gradient, or m without `nesterov`
    u = orthogonalize(u)                                 U V^T of u = U S V^T, nearly
    w = w - lr * (scale * u + weight_decay * w)

    It is for the matrices between the first and the last layer (roles "input", or "embedding", and "head"): groups with
    `role` "matrix" (a convolution counts as a matrix [first dimension, the rest]), or, where groups have no roles, all that has two or more dimensions. The rest
    is trained by AdamW (torch's, fused) with the same rate and decay, `adamw_betas` and `adamw_eps`.

    `adjust="match_rms_adamw"`: scale = 0.2 * sqrt(max(n, m)), by which a rate found for AdamW is right for both (Liu et
    al., 2025, "Muon is Scalable for LLM Training"). "original": scale = sqrt(max(1, n / m)), for rates around 0.02.

    Reference implementation: `torch.optim.Muon`, for matrices alone. Deviations: small matrices of one shape go through
    the iteration together; it runs in bfloat16, as there, only where the device multiplies that fast, and never for
    weights in float64.
    """

    apart: ClassVar[tuple[str, ...]] = ("matrix",)
    """The roles whose parameters are to be in groups of their own, marked by `role`."""

    needs: ClassVar[frozenset[str]] = frozenset({"full_params"})
    """Of the way of running in parallel: the iteration multiplies whole matrices."""

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.1,
        num_iterations: int = 5,
        adjust: Literal["match_rms_adamw", "original"] = "match_rms_adamw",
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-8,
    ) -> None:
        defaults: dict[str, Any] = {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
        defaults |= {"num_iterations": num_iterations, "adjust": adjust}
        super().__init__(params, defaults | {"adamw_betas": adamw_betas, "adamw_eps": adamw_eps})

    def update(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        is_matrix = [weight.ndim > 1 and group.get("role", "matrix") == "matrix" for weight in weights]
        matrices = [weight for weight, chosen in zip(weights, is_matrix, strict=True) if chosen]
        others = [weight for weight, chosen in zip(weights, is_matrix, strict=True) if not chosen]
        if matrices:
            self._muon(group, matrices)
        if others:
            self._adamw(group, others)

    def _muon(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
        gradients: list[Any] = [weight.grad for weight in weights]
        momenta = [self.state[weight]["momentum"] for weight in weights]
        for m, g, w in portions(momenta, gradients, weights):
            foreach_lerp_(m, g, 1 - momentum)
            if group["weight_decay"]:
                foreach_mul_(w, 1 - lr * group["weight_decay"])
        shapes: dict[tuple[Any, ...], list[int]] = {}
        for index, weight in enumerate(weights):
            shapes.setdefault((weight.shape, weight.dtype, weight.device), []).append(index)
        for indices in shapes.values():
            num = max(1, TOGETHER // weights[indices[0]].numel())
            for start in range(0, len(indices), num):
                part = indices[start : start + num]
                updates = [momenta[index] for index in part]
                if group["nesterov"]:
                    updates = [gradients[index].lerp(momenta[index], momentum) for index in part]
                self._move([weights[index] for index in part], updates, group)

    def _move(self, weights: list[Tensor], updates: list[Tensor], group: dict[str, Any]) -> None:
        """Matrices of one shape, together."""
        first = updates[0].flatten(1)
        moved = orthogonalize(
            first if len(updates) == 1 else torch.stack([update.flatten(1) for update in updates]),
            group["num_iterations"],
        )
        step = -group["lr"] * _scale(first, group["adjust"])
        for weight, move in zip(weights, moved.unbind() if moved.ndim == 3 else [moved], strict=True):
            weight.add_(move.reshape(weight.shape), alpha=step)

    def _adamw(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
                self.state[weight]["exp_avg"] = torch.zeros_like(weight)
                self.state[weight]["exp_avg_sq"] = torch.zeros_like(weight)
        states = [self.state[weight] for weight in weights]
        gradients: list[Any] = [weight.grad for weight in weights]
        beta1, beta2 = group["adamw_betas"]
        adamw(
            weights,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["adamw_eps"],
            maximize=False,
        )


def orthogonalize(matrices: Tensor, num_iterations: int = 5) -> Tensor:
    """Nearly U V^T of each matrix U S V^T, shape [n, m] or [count, n, m], by a quintic Newton-Schulz iteration.

    x = gradient / |gradient|, then a x + (b A + c A^2) x with A = x x^T. Singular values end near 1, not at it.
    """
    a, b, c = COEFFICIENTS
    narrow = matrices.dtype is not torch.float64 and _multiplies_bfloat16(matrices)
    x = matrices.to(torch.bfloat16, copy=True) if narrow else matrices.clone()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT  # the product of the iteration is then the smaller square
    add_product = torch.addmm if x.ndim == 2 else torch.baddbmm  # the first is faster where there is one
    x.div_(torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7))
    for _ in range(num_iterations):
        gram = x @ x.mT
        x = add_product(x, add_product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def _multiplies_bfloat16(matrices: Tensor) -> bool:
    """Whether these are multiplied faster in bfloat16 than in float32: on accelerators, on CPUs with matrix units, and,
    where they are large enough to make up for the conversion, on CPUs with vectors of bfloat16."""
    if matrices.device.type != "cpu" or has_matrix_units():
        return True
    return min(matrices.shape[-2:]) >= NARROW_FROM and has_bfloat16_vectors()


def _scale(matrix: Tensor, adjust: str) -> float:
    num_rows, num_columns = matrix.shape
    if adjust == "original":
        return float(max(1.0, num_rows / num_columns) ** 0.5)
    return float(0.2 * max(num_rows, num_columns) ** 0.5)
