"""Adafactor: the second moment of a matrix kept as a row and a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from launcher.adapters.torch import foreach_add_, foreach_lerp_, foreach_mul, foreach_mul_, foreach_norm, foreach_rsqrt

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

    needs: ClassVar[frozenset[str]] = frozenset({"full_params"})
    """Of the way of running in parallel: the means and the size are those of a whole tensor."""

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
        super().__init__(params, defaults | {"weight_decay": weight_decay, "scale_parameter": scale_parameter})

    def update(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        for steps, alike in self.counted(weights):
            self._move(group, alike, steps)

    def _move(self, group: dict[str, Any], weights: list[Tensor], num_steps: int) -> None:
        """Weights of which this is the step `num_steps`."""
        fresh = num_steps ** -group["decay_rate"]  # 1 - beta2
        rate = min(group["lr"], num_steps**-0.5)
        sizes = _rms(weights)
        steps = (sizes.clamp_(min=group["eps"][1]) if group["scale_parameter"] else torch.ones_like(sizes)) * -rate
        if group["weight_decay"]:
            foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        eps, clip = group["eps"][0], group["clip_threshold"]
        vectors: list[tuple[Tensor, Tensor]] = []
        for weight, step in zip(weights, steps.unbind(), strict=True):
            if weight.ndim > 1:
                _move_matrix(weight, self.state[weight], step, fresh, eps, clip)
            else:
                vectors.append((weight, step))
        if vectors:
            alone, each = zip(*vectors, strict=True)
            self._move_vectors(list(alone), torch.stack(each), fresh, eps, clip)

    def _move_vectors(self, weights: list[Tensor], steps: Tensor, fresh: float, eps: float, clip: float) -> None:
        """All at once: there are many, and each is so small that the calls would cost more than the arithmetic."""
        gradients: list[Tensor] = [_wide(weight.grad) for weight in weights if weight.grad is not None]
        states = [self.state[weight] for weight in weights]
        for gradient, state in zip(gradients, states, strict=True):
            if "square" not in state:
                state["square"] = torch.zeros_like(gradient)
        squares = [state["square"] for state in states]
        seen = foreach_mul(gradients, gradients)
        foreach_add_(seen, eps)
        foreach_lerp_(squares, seen, fresh)
        updates = foreach_rsqrt(squares)
        foreach_mul_(updates, gradients)
        foreach_mul_(updates, (steps / (_rms(updates) / clip).clamp_(min=1.0)).unbind())
        foreach_add_(weights, updates)


def _move_matrix(weight: Tensor, state: dict[str, Any], step: Tensor, fresh: float, eps: float, clip: float) -> None:
    """Neither the second moment nor the update is ever formed: what is asked of them follows from their factors."""
    assert weight.grad is not None
    gradient = _wide(weight.grad).flatten(1)  # n, m
    if "row" not in state:
        state["row"], state["column"] = gradient.new_zeros(len(gradient)), gradient.new_zeros(gradient.shape[1])
    square = gradient * gradient
    row = state["row"].lerp_(square.mean(dim=1).add_(eps), fresh)
    column = state["column"].lerp_(square.mean(dim=0).add_(eps), fresh)
    left, right = (row / row.mean()).rsqrt_(), column.rsqrt()  # update = left * gradient * right
    size = ((left * left).dot(square @ (right * right)) / (square.numel() * clip * clip)).sqrt_()
    left.mul_(step / size.clamp_(min=1.0))
    scaled = torch.mul(gradient, left.unsqueeze(1), out=square)
    if weight.ndim == 2 and weight.dtype == scaled.dtype:
        weight.addcmul_(scaled, right)
    else:
        weight.add_(scaled.mul_(right).view_as(weight))


def _wide(tensor: Tensor) -> Tensor:
    """At least float32: a second moment of bfloat16 would not move by a part in a thousand."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _rms(tensors: Sequence[Tensor]) -> Tensor:
    """The root of the mean square of each, at least float32, shape [tensors]."""
    norms = foreach_norm([_wide(tensor) for tensor in tensors])
    shares = [tensor.numel() ** -0.5 for tensor in tensors]
    return torch.stack(norms).mul_(torch.tensor(shares, dtype=norms[0].dtype, device=norms[0].device))
