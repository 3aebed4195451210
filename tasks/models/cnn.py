"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from ..stages import Piece
from .layers import norm as norm_layer


class CNN(nn.Module):
    """`depth` blocks of two 3x3 convolutions with ReLU, then the mean over the pixels and a linear layer.

    The first block has `width` channels; each further one twice as many at half the resolution.
    Input [batch, *image_shape], output [batch, num_outputs].
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        width: int = 16,
        depth: int = 2,
        dropout: float = 0.1,
        norm: Literal["none", "batch", "layer"] = "batch",
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = image_shape[0]
        for level in range(depth):
            out = width << level
            for _ in range(2):
                blocks += [
                    nn.Conv2d(channels, out, 3, padding=1, bias=norm == "none"),
                    norm_layer(norm, out, dims=2),
                    nn.ReLU(),
                ]
                channels = out
            if level + 1 < depth:
                blocks.append(nn.MaxPool2d(2, ceil_mode=True))
        self.body = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.dropout(self.body(x).mean(dim=(2, 3))))
        return output

    def pieces(self) -> list[nn.Module]:
        """Where it can be cut: before each convolution."""
        layers = list(self.body)
        starts = [index for index, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
        runs = [nn.Sequential(*layers[at:to]) for at, to in zip(starts, [*starts[1:], len(layers)], strict=True)]
        head = Piece(lambda x, batch: self.head(self.dropout(x.mean(dim=(2, 3)))), self.dropout, self.head)
        return [*(Piece(None, run) for run in runs), head]
