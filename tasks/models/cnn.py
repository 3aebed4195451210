"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from ..stages import Piece
from .layers import norm as norm_layer


class Residual(nn.Module):
    """Layers whose output is added to their input (He et al., 2016), which a 1x1 convolution widens where it has to be."""

    def __init__(self, layers: Sequence[nn.Module], channels: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.widen = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.activation(self.widen(x) + self.layers(x))
        return output


class CNN(nn.Module):
    """`depth` blocks of two 3x3 convolutions with ReLU, then the mean over the pixels and a linear layer.

    The first block has `width` channels; each further one twice as many at half the resolution. A `block` is `plain`,
    `residual`, or `separable`: each convolution over one channel alone, then a 1x1 convolution that mixes them (Howard et
    al., 2017). Input [batch, *image_shape], output [batch, num_outputs].
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        width: int = 16,
        depth: int = 2,
        dropout: float = 0.1,
        norm: Literal["none", "batch", "layer"] = "batch",
        block: Literal["plain", "residual", "separable"] = "plain",
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = image_shape[0]
        for level in range(depth):
            out = width << level
            separable = block == "separable"
            layers = [*_unit(channels, out, norm, separable), *_unit(out, out, norm, separable)]
            blocks += [Residual(layers[:-1], channels, out)] if block == "residual" else layers
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
        """Where it can be cut: before each convolution, or each residual block."""
        layers = list(self.body)
        starts = [index for index, layer in enumerate(layers) if isinstance(layer, nn.Conv2d | Residual)]
        runs = [nn.Sequential(*layers[at:to]) for at, to in zip(starts, [*starts[1:], len(layers)], strict=True)]
        head = Piece(lambda x, batch: self.head(self.dropout(x.mean(dim=(2, 3)))), self.dropout, self.head)
        return [*(Piece(None, run) for run in runs), head]


def _unit(channels: int, out: int, norm: str, separable: bool) -> list[nn.Module]:
    """A 3x3 convolution with its norm and activation, or the two that stand for it."""
    bias = norm == "none"

    def after(num: int) -> list[nn.Module]:
        return [norm_layer(norm, num, dims=2), nn.ReLU()]

    if not separable:
        return [nn.Conv2d(channels, out, 3, padding=1, bias=bias), *after(out)]
    alone = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=bias)
    return [alone, *after(channels), nn.Conv2d(channels, out, 1, bias=bias), *after(out)]
