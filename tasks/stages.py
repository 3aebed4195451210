"""A model cut into stages: modules in a row, each called as `stage(x, batch)`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from launcher.errors import ConfigError
from launcher.functional.cuts import cuts

if TYPE_CHECKING:
    from launcher.data.samples import Batch


class Piece(nn.Module):
    """What can not be cut further: `call(x, batch)`, with the modules and parameters it uses registered as its own.

    Without `call` x passes through the modules.
    """

    def __init__(
        self, call: Callable[[Any, Batch], Tensor] | None, *modules: nn.Module, **parameters: nn.Parameter
    ) -> None:
        super().__init__()
        self.call = call
        self.parts = nn.ModuleList(modules)
        for name, parameter in parameters.items():
            self.register_parameter(name, parameter)

    def forward(self, x: Any, batch: Batch) -> Tensor:
        if self.call is not None:
            return self.call(x, batch)
        for part in self.parts:
            x = part(x)
        found: Tensor = x
        return found


class Stage(nn.Module):
    """Pieces in a row; the first stage of a model takes the batch's `column` where it is given no x."""

    def __init__(self, pieces: list[nn.Module], column: str) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(pieces)
        self.column = column

    def forward(self, x: Tensor | None, batch: Batch) -> Tensor:
        found: Tensor = batch[self.column] if x is None else x
        for piece in self.pieces:
            found = piece(found, batch)
        return found


def in_stages(model: nn.Module, num: int | None, column: str, pieces: list[nn.Module] | None = None) -> list[nn.Module]:
    """The model in `num` stages, such that the largest has as few parameters as can be; without a number in as many as
    there can be.

    A model is cut where `pieces` say, or its own `pieces()`. Raises ConfigError for a model without, and for more stages than pieces.
    """
    if pieces is None:
        own = getattr(model, "pieces", None)
        if own is None:
            raise ConfigError(f"{type(model).__name__} does not say where it can be cut into stages")
        pieces = own()
    assert pieces is not None
    if num is None:
        return [Stage([piece], column) for piece in pieces]
    if len(pieces) < num:
        raise ConfigError(
            f"{type(model).__name__} can be cut into {len(pieces)} stages at most, and {num} are asked for; a larger model.depth gives more"
        )
    sizes = [sum(parameter.numel() for parameter in piece.parameters()) for piece in pieces]
    ends = [0, *cuts(tuple(sizes), num)]
    return [Stage(pieces[start:end], column) for start, end in pairwise(ends)]
