"""What a sweep tells of its trials, and to whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from launcher.launch.outcome import ENDED

from .study.study import Claim


@dataclass(frozen=True)
class Ended:
    """A trial of this driver's that is over: what its result.json says, and its objectives, None where it has none."""

    claim: Claim
    result: dict[str, Any]
    values: list[float | None]

    @property
    def good(self) -> bool:
        return self.result["status"] in ENDED


class Listener(Protocol):
    """Who wants to know how a sweep goes on."""

    def started(self, claim: Claim, slot: int, resumed: bool) -> None: ...

    def ended(self, ended: Ended) -> None: ...

    def left(self, claim: Claim, why: str) -> None:
        """A trial that ended here without being over: it is resumed by whoever comes next."""

    def told(self, text: str) -> None:
        """What is to be said of no one trial."""

    def looked(self) -> None:
        """Called again and again."""
