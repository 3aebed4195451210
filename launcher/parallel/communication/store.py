"""The weights that ranks move without waiting for each other, on the main rank, which answers the others from threads."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from enum import IntEnum
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from launcher.errors import WorkerLost

_NO_LIMIT = timedelta(days=365)
"""How long the main rank waits for a message: a slow rank may take what time it needs, a lost one closes its connection."""


NOTHING = -1
"""In place of a version: the change is empty, and none."""


class Told(IntEnum):
    """What a rank hears with every answer, and may say with every message."""

    GO_ON = 0
    OVER = 1  # the main rank has ended the fit before its length
    LEAVE = 2  # a signal asks the run to save and leave


class Store:
    """One float32 vector that every rank adds to; `weights` is what all have brought in so far.

    `version` counts the changes. A change that was made from more than `max_staleness` versions ago is left out and
    counted in `num_dropped`; others are added as they come, divided by the number of ranks. Nobody waits but for the
    vector itself while another one is being added.
    """

    def __init__(self, weights: Tensor, num_ranks: int, max_staleness: int) -> None:
        self.weights, self.num_ranks, self.max_staleness = weights, num_ranks, max_staleness
        self.version = 0
        self.num_dropped = 0
        self.staleness: list[int] = []
        """Of the changes that were added since the list was last emptied."""
        self.bytes_sent = 0
        self.told = Told.GO_ON
        self._lock = threading.Lock()
        self._threads: dict[int, threading.Thread] = {}
        self._heard: dict[int, float] = {}
        self._failure: BaseException | None = None

    def serve(self, groups: dict[int, Any]) -> None:
        """Answer each rank of `groups` (its process group of two) from now on until it says that it is done."""
        for rank, group in groups.items():
            self._heard[rank] = time.monotonic()
            thread = threading.Thread(target=self._answer, args=(rank, group), name=f"store-{rank}", daemon=True)
            self._threads[rank] = thread
            thread.start()

    def add(self, change: Tensor, version: int) -> tuple[Tensor, int]:
        """Take in a change of the weights that were there at `version`; returns a copy of those of now, and their version."""
        with self._lock:
            behind = self.version - version
            if behind <= self.max_staleness:
                self.weights.add_(change, alpha=1 / self.num_ranks)
                self.version += 1
                self.staleness.append(behind)
            else:
                self.num_dropped += 1
            return self.weights.clone(), self.version

    def snapshot(self) -> Tensor:
        """A copy of the weights."""
        with self._lock:
            return self.weights.clone()

    def tell(self, word: Told) -> None:
        """Say it to every rank with the next answer; leaving outdoes the rest."""
        self.told = max(self.told, word)

    def raise_failure(self) -> None:
        """Raise what ended a conversation before its time, if anything did."""
        if self._failure is not None:
            raise self._failure

    def wait(self, limit_s: float) -> None:
        """Return when every rank is done. Raises WorkerLost where one says nothing for `limit_s`."""
        since = time.monotonic()
        while waited := [rank for rank, thread in self._threads.items() if thread.is_alive()]:
            self._threads[waited[0]].join(0.05)
            self.raise_failure()
            silent = [rank for rank in waited if time.monotonic() - max(since, self._heard[rank]) > limit_s]
            if silent:
                raise WorkerLost(
                    f"rank {silent[0]} has sent nothing for {limit_s:g} s (parallel.timeout_s) and is not done"
                )
        self.raise_failure()

    def _answer(self, rank: int, group: Any) -> None:
        change = torch.empty_like(self.weights)
        message = torch.empty(3, dtype=torch.int64)
        try:
            done = False
            while not done:
                dist.recv(message, rank, group=group)
                dist.recv(change, rank, group=group)
                self._heard[rank] = time.monotonic()
                version, word, done = message.tolist()
                self.tell(Told(word))
                if version != NOTHING:
                    weights, version = self.add(change, version)
                dist.send(torch.tensor([version, self.told]), rank, group=group)
                if not done:
                    dist.send(weights, rank, group=group)
                    self.bytes_sent += weights.numel() * weights.element_size()
        except BaseException as failure:  # raised where the main rank next comes by
            self._failure = failure


def conversations(rank: int, num_ranks: int, timeout_s: float) -> dict[int, Any]:
    """The process groups of two that the main rank and each other one talk in, by the other's rank; on those, its own.

    Every rank comes here. The main rank waits for messages without limit, the others `timeout_s` for an answer.
    """
    limit = _NO_LIMIT if rank == 0 else timedelta(seconds=timeout_s)
    groups = {other: dist.new_group([0, other], timeout=limit, backend="gloo") for other in range(1, num_ranks)}
    return groups if rank == 0 else {rank: groups[rank]}


def send_change(change: Tensor, version: int, word: Told, done: bool, group: Any) -> tuple[Tensor | None, int, Told]:
    """What another rank than the main one does: its change for the weights of now (None when it is done), their
    version, and what the main rank says."""
    dist.send(torch.tensor([version, word, done]), 0, group=group)
    dist.send(change, 0, group=group)
    answer = torch.empty(2, dtype=torch.int64)
    dist.recv(answer, 0, group=group)
    fresh, told = answer.tolist()
    if done:
        return None, fresh, Told(told)
    weights = torch.empty_like(change)
    dist.recv(weights, 0, group=group)
    return weights, fresh, Told(told)
