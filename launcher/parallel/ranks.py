"""What the ranks of a run tell each other between steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Ranks:
    """One rank, which has nobody to tell anything to. What spreads further overrides what differs."""

    def sum(self, value: Any) -> Any:
        """A number or a tensor, summed over the ranks; a plain number is taken to be the same on each."""
        return value

    def mean(self, value: Tensor) -> Tensor:
        """A tensor's mean over the ranks."""
        return value

    def max(self, value: float) -> float:
        """A number, the largest over the ranks."""
        return value

    def agree(self, flag: bool) -> bool:
        """Whether any rank says yes; all ranks get the same answer at the same step."""
        return flag

    def gather_states(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """Each rank's state, in the order of ranks. Every rank comes here."""
        return [state]

    def barrier(self) -> None:
        """Returns when every rank has come here."""
