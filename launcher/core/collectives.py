"""What the ranks of a run tell each other between steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

if TYPE_CHECKING:
    pass


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

    def of_this_rank(self, weight: float) -> Any:
        """A loss's weight that is a number, and may be another one on another rank, as `whole` sums it over them."""
        return weight

    def whole(self, weight: Any) -> Any:
        """The weight that a step's gradient is the mean over, from this rank's; a number is taken to be the same on each."""
        return self.sum(weight)

    def differing(self, model: nn.Module) -> Difference | None:
        """The weight of a model that ranks which should hold the same do not; every rank comes here and hears the same."""
        return None

    def agree(self, flag: bool) -> bool:
        """Whether any rank says yes; all ranks get the same answer at the same step."""
        return flag

    def gather_states(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        """Each rank's state, in the order of ranks. Every rank comes here."""
        return [state]

    def barrier(self) -> None:
        """Returns when every rank has come here."""


ROUNDING = 1e-5
"""Of the sum of a weight's absolute values: what differs by no more was computed alike, by machines that round otherwise."""


class Difference(NamedTuple):
    """A weight that is not the same on all ranks that hold it, and by what share of its size it differs."""

    name: str
    share: float

    @property
    def is_rounding(self) -> bool:
        """Whether processors of different kinds explain it."""
        return self.share <= ROUNDING

    def told(self, step: int) -> str:
        """What is said where a run ends of it, seen after `step` steps."""
        return (
            f"the ranks' weights are not the same any more at step {step}: {self.name} differs by {self.share:.1g} of its "
            "size. Something was computed from a rank's own samples alone, or from its own random numbers; "
            "debug.compare_ranks=true finds the first such step"
        )
