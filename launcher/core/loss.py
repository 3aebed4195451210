"""Loss: a sum and the weight it is divided by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Loss:
    """A loss as a sum and the weight it is divided by: samples, or the tokens that count.

    A step divides the sum over all its micro-batches and ranks once, by the weight of all of them; a mean of
    means would be wrong where the weights differ. A weight that follows from shapes alone is a number; one that
    depends on the data is a tensor, and costs the step a collective. Where shapes may differ between ranks (batches that
    are not `alike`) numbers are summed over them too; where they may not, a number that does is an error.
    """

    sum: Tensor
    weight: int | Tensor
