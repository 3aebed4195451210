"""The multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from ..stages import Piece
from .layers import norm as norm_layer


class MLP(nn.Module):
    """`depth` hidden layers of `width` units with ReLU over the flattened input.

    Input [batch, *input_shape], output [batch, num_outputs].
    """

    offers: ClassVar[frozenset[str]] = frozenset({"tensor_plan"})

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        width: int = 128,
        depth: int = 2,
        dropout: float = 0.0,
        norm: Literal["none", "batch", "layer"] = "none",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        features = math.prod(input_shape)
        for _ in range(depth):
            layers.append(nn.Linear(features, width))
            if norm != "none":
                layers.append(norm_layer(norm, width))
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
            features = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(features, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.body(x.flatten(1)))
        return output

    def pieces(self) -> list[nn.Module]:
        """Where it can be cut: before each linear layer."""
        layers = list(self.body)
        starts = [index for index, layer in enumerate(layers) if isinstance(layer, nn.Linear)]
        runs = [nn.Sequential(*layers[at:to]) for at, to in zip(starts, [*starts[1:], len(layers)], strict=True)]
        return [*(Piece(None, nn.Flatten(), run) for run in runs), Piece(None, self.head)]
