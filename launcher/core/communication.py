"""Communication: what the ranks of `parallel=ddp` send each other, and when."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

if TYPE_CHECKING:
    from launcher.adapters.torch import GradBucket


class Communication:
    """Exchanges gradients, a bucket at a time, while backward runs; subclasses say how.

    `bytes_sent` counts what this rank has put into collectives (a ring sends it about twice, whatever it is), from the
    first step of this process on. `seconds` is the time from the start of each exchange to its end, once `measure` was
    called: part of it lies beside the backward pass. On a GPU it is what the host saw.
    """

    replicas: ClassVar[bool] = False
    """Each rank moves weights of its own, which are brought together now and then."""
    apart: ClassVar[bool] = False
    """And they do not wait for each other even then."""
    lacks: ClassVar[frozenset[str]] = frozenset()
    """Capabilities of the strategy, in its words, that it does not have with this."""

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.baseline_bytes = 0
        """What a plain average of the gradients would send in a step."""
        self.seconds = 0.0
        self.num_ranks = 1
        self.names: dict[Tensor, str] = {}
        self._timed = False
        self._ddp: DistributedDataParallel | None = None

    def start(self, model: nn.Module, num_ranks: int) -> None:
        """`model` is the one that is trained, wrapped where gradients are exchanged; no step has been taken."""
        self.num_ranks = num_ranks
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        self.names = {parameter: name for name, parameter in inner.named_parameters() if parameter.requires_grad}
        self.baseline_bytes = sum(parameter.numel() * parameter.element_size() for parameter in self.names)
        self._ddp = model if isinstance(model, DistributedDataParallel) else None

    def measure(self) -> None:
        """Take times from now on. Before the first step."""
        self._timed = True

    def log(self) -> dict[str, float]:
        """More to say at a log line than bytes and time."""
        return {}

    def hook(self) -> None:
        """Let `exchange` do what DDP would do by itself."""
        if self._ddp is not None:
            self._ddp.register_comm_hook(None, lambda state, bucket: self._exchanged(bucket))

    def exchange(self, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        """The mean over the ranks of a bucket of gradients, in the bucket's own buffer; counts the bytes."""
        buffer = bucket.buffer()
        return self.all_reduce(buffer.div_(self.num_ranks))

    def all_reduce(self, tensor: Tensor) -> torch.futures.Future[Tensor]:
        """The sum over the ranks, in place."""
        self.bytes_sent += tensor.numel() * tensor.element_size()
        work = dist.all_reduce(tensor, async_op=True)
        assert work is not None
        done: torch.futures.Future[Any] = work.get_future()
        return done.then(lambda future: future.value()[0])

    def _exchanged(self, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        if not self._timed:
            return self.exchange(bucket)
        started = time.perf_counter()

        def stop(future: torch.futures.Future[Tensor]) -> Tensor:
            self.seconds += time.perf_counter() - started
            return future.value()

        return self.exchange(bucket).then(stop)

    # -- where each rank has weights of its own

    def after_step(self, step: int) -> bool:
        """`step` steps have been taken; returns whether the ranks met."""
        return True

    def state_dict(self) -> dict[str, Any]:
        """What this rank needs to go on bit for bit."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
