"""Gradients sent in half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from launcher.core.communication import Communication

if TYPE_CHECKING:
    from launcher.adapters.torch import GradBucket


class Compressed(Communication):
    """The mean of the gradients, rounded to `dtype` for the way: half the bytes of single precision.

    Each rank divides by the number of ranks before it rounds, so that the sum stays in range. float16 has three bits
    of mantissa more and nothing below 6e-8; bfloat16 has float32's range.
    """

    def __init__(self, dtype: Literal["float16", "bfloat16"]) -> None:
        super().__init__()
        self.dtype: torch.dtype = getattr(torch, dtype)

    def start(self, model: nn.Module, num_ranks: int) -> None:
        super().start(model, num_ranks)
        self.hook()

    def exchange(self, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        buffer = bucket.buffer()
        small = (buffer / self.num_ranks).to(self.dtype)
        return self.all_reduce(small).then(lambda future: buffer.copy_(future.value()))
