"""Adafactor: the second moment of a matrix kept as a row and a column."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from .base import GroupOptimizer


class Adafactor(GroupOptimizer):
    """Shazeer and Stern, 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", Algorithms 4 and 5.

    beta2 = 1 - t^-decay_rate
    r = beta2 * r + (1 - beta2) * mean over columns of (gradient^2 + eps[0])      one number a row
    c = beta2 * c + (1 - beta2) * mean over rows of (gradient^2 + eps[0])         one number a column
    u = gradient / sqrt(r c^T / mean(r))                                           vectors: / sqrt(v), in full
    u = u / max(1, rms(u) / clip_threshold)
    w = w - max(eps[1], rms(w)) * min(lr, 1 / sqrt(t)) * u

    State of a matrix [n, m]: n + m numbers. There is no first moment. With `lr=0.01` at a constant rate it is the
    paper's relative step size; the rate is a share of a tensor's size, so it does not compare with AdamW's.
    `scale_parameter=false` leaves out max(eps[1], rms(w)): then `lr` is a step size as AdamW's.

    Reference implementation: `transformers.Adafactor`, with its `lr` in place of the paper's 0.01. Deviations: tensors of
    more than two dimensions are taken as a matrix [first dimension, the rest] (there: a matrix for each of the leading
    ones, which for a 3x3 convolution keeps two thirds of the memory); weight decay is decoupled and times `lr`
    (there: times the whole step size; the paper has none).
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-2,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = 0.8,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
    ) -> None:
        defaults: dict[str, Any] = {"lr": lr, "eps": eps, "clip_threshold": clip_threshold, "decay_rate": decay_rate}
        super().__init__(
            params, defaults | {"weight_decay": weight_decay, "scale_parameter": scale_parameter, "steps": 0}
        )

    def update(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        group["steps"] += 1
        fresh = group["steps"] ** -group["decay_rate"]  # 1 - beta2
        rate = min(group["lr"], group["steps"] ** -0.5)
        for weight in weights:
            step = _rms(weight).clamp(min=group["eps"][1]) * -rate if group["scale_parameter"] else -rate
            if group["weight_decay"]:
                weight.mul_(1 - group["lr"] * group["weight_decay"])
            move = _move_matrix if weight.ndim > 1 else _move_vector
            move(weight, self.state[weight], step, fresh, group["eps"][0], group["clip_threshold"])


def _move_matrix(
    weight: Tensor, state: dict[str, Any], step: Tensor | float, fresh: float, eps: float, clip: float
) -> None:
    """Neither the second moment nor the update is ever formed: what is asked of them follows from their factors."""
    assert weight.grad is not None
    gradient = _wide(weight.grad).flatten(1)  # n, m
    if not state:
        state["row"], state["column"] = gradient.new_zeros(len(gradient)), gradient.new_zeros(gradient.shape[1])
    square = gradient * gradient
    row = state["row"].lerp_(square.mean(dim=1) + eps, fresh)
    column = state["column"].lerp_(square.mean(dim=0) + eps, fresh)
    left, right = (row / row.mean()).rsqrt(), column.rsqrt()  # update = left * gradient * right
    size = ((left * left).dot(square @ (right * right)) / square.numel()).sqrt()
    left = left * (step / (size / clip).clamp(min=1.0))
    scaled = torch.mul(gradient, left.unsqueeze(1), out=square)
    if weight.ndim == 2 and weight.dtype == scaled.dtype:
        weight.addcmul_(scaled, right)
    else:
        weight.add_(scaled.mul_(right).view_as(weight))


def _move_vector(
    weight: Tensor, state: dict[str, Any], step: Tensor | float, fresh: float, eps: float, clip: float
) -> None:
    assert weight.grad is not None
    gradient = _wide(weight.grad)
    if not state:
        state["square"] = torch.zeros_like(gradient)
    square = state["square"].lerp_(gradient.square().add_(eps), fresh)
    update = square.rsqrt().mul_(gradient)
    weight.add_(update.mul_(step / (_rms(update) / clip).clamp(min=1.0)))


def _wide(tensor: Tensor) -> Tensor:
    """At least float32: a second moment of bfloat16 would not move by a part in a thousand."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _rms(tensor: Tensor) -> Tensor:
    """The root of the mean square, a scalar tensor of at least float32."""
    size: Tensor = torch.linalg.vector_norm(_wide(tensor)) * tensor.numel() ** -0.5
    return size
