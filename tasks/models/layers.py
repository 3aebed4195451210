"""Layers that several models choose by name."""

from __future__ import annotations

from torch import Tensor, nn

from launcher.errors import ConfigError, did_you_mean


class ChannelNorm(nn.GroupNorm):
    """Layer norm over channels and pixels of a picture [batch, channels, height, width]."""

    def __init__(self, num_channels: int) -> None:
        super().__init__(1, num_channels)


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch norm over the features of tokens [batch, tokens, features]; the statistics run over batch and tokens."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(0, 1)).view_as(input)


def norm(name: str, features: int, dims: int = 1) -> nn.Module:
    """The normalisation `model.norm` names, for vectors (`dims=1`) or pictures (`dims=2`).

    Raises ConfigError for a name that is none of `none`, `batch`, `layer`.
    """
    kinds: dict[str, type[nn.Module]] = {
        "none": nn.Identity,
        "batch": nn.BatchNorm1d if dims == 1 else nn.BatchNorm2d,
        "layer": nn.LayerNorm if dims == 1 else ChannelNorm,
    }
    if name not in kinds:
        raise ConfigError(f"model.norm={name}: no such normalisation.{did_you_mean(name, kinds)}")
    return nn.Identity() if name == "none" else kinds[name](features)
