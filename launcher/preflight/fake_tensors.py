"""Tensors that have shapes and no contents, and the bytes that they would take."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from launcher.adapters.torch import FakeTensor, FakeTensorMode, TorchDispatchMode, address, tree_map_only

if TYPE_CHECKING:
    from launcher.data.samples import Batch


class Tracker(TorchDispatchMode):
    """Counts the bytes of the storages that live; each counts by a weight, the share of it that a rank holds."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.now = self.peak = 0.0
        self.weight = 1.0
        """Of what comes to life from now on."""
        self._live: dict[int, tuple[int, float]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self.see, result)
        return result

    def see(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once."""
        storage = tensor.untyped_storage()
        key = address(storage)
        if key not in self._live:
            self._live[key] = (storage.nbytes(), self.weight)
            weakref.finalize(storage, self._gone, key)
            self.now += storage.nbytes() * self.weight
            self.peak = max(self.peak, self.now)

    def weigh(self, tensor: Tensor, weight: float) -> None:
        """From now on a storage counts by another weight."""
        key = address(tensor.untyped_storage())
        size, before = self._live.get(key, (0, 0.0))
        if key in self._live:
            self._live[key] = (size, weight)
            self.now += size * (weight - before)

    def _gone(self, key: int) -> None:
        size, weight = self._live.pop(key, (0, 0.0))
        self.now -= size * weight


@contextlib.contextmanager
def copied() -> Iterator[None]:
    """Tensors without contents can be deep-copied: torch's own way takes the mode along (2.13)."""

    def copy(self: FakeTensor, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            fresh = self.detach().clone()
            memo[id(self)] = nn.Parameter(fresh, self.requires_grad) if isinstance(self, nn.Parameter) else fresh
        found: Tensor = memo[id(self)]
        return found

    FakeTensor.__deepcopy__ = copy  # type: ignore[method-assign,assignment]  # taken away below
    try:
        yield
    finally:
        del FakeTensor.__deepcopy__


def placed(fake: FakeTensorMode, tracker: Tracker, batch: Batch) -> Batch:
    """A batch of the same shapes, counted."""
    columns: Batch = {name: fake.from_tensor(column) for name, column in batch.items()}
    for column in columns.values():
        tracker.see(column)
    return columns


def num_bytes(tensors: Iterable[Tensor]) -> int:
    """Of the storages, each once."""
    sizes = {id(tensor.untyped_storage()): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(sizes.values())
