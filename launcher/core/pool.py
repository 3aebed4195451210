"""Pool: where jobs are submitted, polled and cancelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


class Pool(Protocol):
    """Where fits run. `submit` returns a handle, a pool's own word for what it has started; `poll` returns None while a
    fit runs, and once the exit status of its handle, which is then void."""

    slots: int
    outlives: bool
    """Whether what it runs goes on when the driver is gone, and is found again by `submit`."""

    def warm_up(self) -> None: ...

    def submit(self, folder: Path, resume: bool = False, environment: Mapping[str, str] | None = None) -> Any: ...

    def poll(self, handle: Any) -> int | None: ...

    def cancel(self, handles: Sequence[Any]) -> None: ...

    def abort(self, handle: Any) -> None: ...

    def kill(self, handle: Any) -> None: ...

    def wait(self, timeout: float) -> None: ...


@runtime_checkable
class Together(Pool, Protocol):
    """A pool that takes many runs at once, and itself sees to it that no more than its slots are under way."""

    def submit_all(self, folders: Sequence[Path]) -> list[Any]:
        """Submit the runs in those folders; returns their handles."""
        ...
