"""What the terminal looks at while a run goes on: a part of `Run`, as a protocol, since a run knows its console and not the other way."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """How far the fit has come."""

    @property
    def step(self) -> int: ...

    def elapsed(self) -> float: ...


class Length(Protocol):
    """How far it is to go."""

    @property
    def last_step(self) -> int | None: ...

    @property
    def max_time(self) -> float | None: ...


class Watched(Protocol):
    """A run that goes on."""

    @property
    def progress(self) -> Progress: ...

    @property
    def plan(self) -> Length: ...

    @property
    def metrics(self) -> dict[str, float]: ...

    @property
    def objective(self) -> tuple[str, str]: ...
