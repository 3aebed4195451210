"""Each rank trains by itself and brings its changes in when it has them; nobody waits for anybody."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import torch
from torch import Tensor

from .local_sgd import LocalSGD
from .store import NOTHING, Store, Told, conversations, send_change


class Asynchronous(LocalSGD):
    """Downpour SGD of Dean et al., 2012, "Large Scale Distributed Deep Networks", with steps of the ranks' own
    optimizers in the place of gradients, and a bound on staleness as in Ho et al., 2013.

    The main rank keeps the weights w. After every `period` steps rank i sends how it has moved them and takes them as
    they are by then:

    w = w + (w_i - w_i at its last exchange) / ranks,     w_i = w

    A change is left out if `max_staleness` is less than the number of changes that others have made since that last
    exchange; the rank goes on from w all the same. So a slow rank holds up nobody: neither by being waited for, nor by
    moving the weights from where they were long ago. The running statistics of batch norms move with the weights, the
    optimizer's moments stay each rank's own. What is evaluated, saved and exported is w.

    Dean's ranks send gradients, and the store divides by AdaGrad; Ho's wait at the bound.
    """

    apart: ClassVar[bool] = True

    def __init__(self, period: int = 4, max_staleness: int = 16) -> None:
        super().__init__(period)
        self.max_staleness = max_staleness
        self.store: Store | None = None
        """On the main rank, from `begin` to the end."""
        self.origin: Tensor
        self.version = 0
        self._group: Any = None
        self._met, self._done = True, False
        self._own_bytes = 0
        self._dropped = 0

    @property
    def bytes_sent(self) -> int:
        """What this rank has sent: its changes, or of the main rank, the weights in its answers."""
        return self.store.bytes_sent if self.store is not None else self._own_bytes

    @bytes_sent.setter
    def bytes_sent(self, value: int) -> None:
        self._own_bytes = value

    def begin(self, rank: int, timeout_s: float) -> None:
        """The weights are what the first step starts from, the same on every rank; all of them come here."""
        if self.num_ranks == 1:
            return
        self.origin = self._flat()
        groups = conversations(rank, self.num_ranks, timeout_s)
        if rank == 0:
            self.store = Store(self.origin.clone(), self.num_ranks, self.max_staleness)
            self.store.serve(groups)
        else:
            self._group = groups[rank]

    def exchange_now(self, word: Told = Told.GO_ON, done: bool = False) -> Told:
        """Bring this rank's change in and take the weights of now, not where it is `done`; returns what is said to all."""
        started = time.perf_counter()
        change = self._flat() - self.origin
        weights: Tensor | None
        if self.store is not None:
            self.store.raise_failure()
            self.store.tell(word)
            weights, self.version = self.store.add(change, self.version)
            told = self.store.told
        else:
            version = NOTHING if self._met and done else self.version
            weights, self.version, told = send_change(change, version, word, done, self._group)
            self._own_bytes += change.numel() * change.element_size()
        if weights is not None:
            self._take(weights)
        if self._timed:
            self.seconds += time.perf_counter() - started
        return told

    def end(self, word: Told, timeout_s: float) -> None:
        """The last step is taken: bring in the rest; on the main rank, once all others have. A second time does nothing."""
        if self.num_ranks == 1 or self._done:
            return
        self._done = True
        if self.store is None or not self._met:
            self.exchange_now(word, done=True)
        if self.store is not None:
            self.store.tell(word)
            self.store.wait(timeout_s)
            self._take(self.store.snapshot())

    def after_step(self, step: int) -> bool:
        self._met = step % self.period == 0
        return self._met

    def mean(self) -> list[Tensor]:
        """The weights that all have brought their changes into; on other ranks than the main one, their own."""
        return self._parts(self.store.snapshot()) if self.store is not None else list(self.shared)

    def log(self) -> dict[str, float]:
        """The mean number of changes by others that a change came late by, and the changes left out; since the last line."""
        if self.store is None:
            return {}
        behind, self.store.staleness = self.store.staleness, []
        dropped, self._dropped = self.store.num_dropped - self._dropped, self.store.num_dropped
        return ({"staleness": sum(behind) / len(behind)} if behind else {}) | {"dropped": float(dropped)}

    def state_dict(self) -> dict[str, Any]:
        return {}

    @torch.no_grad()
    def _flat(self) -> Tensor:
        return torch.cat([tensor.reshape(-1).float() for tensor in self.shared]).cpu()

    def _parts(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([tensor.numel() for tensor in self.shared])
        return [part.view_as(tensor).to(tensor) for part, tensor in zip(parts, self.shared, strict=True)]

    @torch.no_grad()
    def _take(self, weights: Tensor) -> None:
        self.origin = weights
        for tensor, part in zip(self.shared, self._parts(weights), strict=True):
            tensor.copy_(part)
