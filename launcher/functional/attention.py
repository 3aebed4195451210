"""The weights of attention that a forward pass makes, seen from outside."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Attentions(TorchFunctionMode):
    """While it is entered, keeps the weights of every scaled dot-product attention (Vaswani et al., 2017): softmax(q k' s + m).

    `layers` has one [queries, keys] a call: of the first sample of the batch, the mean over the heads, without dropout.
    The fused kernels never write them down, so they are computed again beside; what the pass itself gives stays as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.layers.append(weights(*args[:2], **{name: value for name, value in given.items() if name in TAKEN}))
        return func(*args, **given)


TAKEN = ("query", "key", "attn_mask", "is_causal", "scale")


@torch.no_grad()
def weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """The weights of the first sample, the mean over its heads: [queries, keys] from [batch, heads, tokens, width]."""
    one, other = query[:1].float(), key[:1].float()
    if other.shape[1] != one.shape[1]:  # heads that share keys
        other = other.repeat_interleave(one.shape[1] // other.shape[1], dim=1)
    scores = one @ other.transpose(-2, -1) * (1 / math.sqrt(one.shape[-1]) if scale is None else scale)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    if attn_mask is not None:
        own = attn_mask[:1] if attn_mask.ndim == 4 else attn_mask
        scores = scores.masked_fill(~own, -math.inf) if own.dtype == torch.bool else scores + own.float()
    return scores.softmax(-1).mean(1)[0]
