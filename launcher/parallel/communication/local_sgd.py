"""Each rank trains by itself, and the weights are averaged now and then."""

from __future__ import annotations

import time
from typing import ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from launcher.core.communication import Communication


class LocalSGD(Communication):
    """Stich, 2019, "Local SGD Converges Fast and Communicates Little": the mean of the ranks' weights after every
    `period` steps, each of them by the rank's own optimizer on its own share of the samples.

    The optimizer's moments stay each rank's own; the running statistics of batch norms are averaged with the weights.
    What is evaluated, saved and exported is the mean at that moment. With `period=1` and SGD without momentum it is
    the average of gradients.
    """

    replicas: ClassVar[bool] = True
    lacks: ClassVar[frozenset[str]] = frozenset({"full_params"})

    def __init__(self, period: int = 8) -> None:
        super().__init__()
        self.period = period
        self.shared: list[Tensor] = []

    def start(self, model: nn.Module, num_ranks: int) -> None:
        super().start(model, num_ranks)
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self.shared = [*(parameter.detach() for parameter in self.names), *buffers]

    def after_step(self, step: int) -> bool:
        if step % self.period:
            return False
        started = time.perf_counter()
        self.bring_together()
        if self._timed:
            self.seconds += time.perf_counter() - started
        return True

    @torch.no_grad()
    def bring_together(self) -> None:
        """Every rank's weights, and averages of batch norms, become their mean."""
        for tensor, mean in zip(self.shared, self.mean(), strict=True):
            tensor.copy_(mean)

    def mean(self) -> list[Tensor]:
        """The mean over the ranks of all that is shared, in one message."""
        flat = torch.cat([tensor.reshape(-1).float() for tensor in self.shared]).div_(self.num_ranks)
        if self.num_ranks > 1:
            dist.all_reduce(flat)
            self.bytes_sent += flat.numel() * flat.element_size()
        parts = flat.split([tensor.numel() for tensor in self.shared])
        return [part.view_as(tensor).to(tensor.dtype) for part, tensor in zip(parts, self.shared, strict=True)]
