"""The vision transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from launcher.errors import ConfigError

from ..stages import Piece
from .transformer import Block, initialise, token_norm


class ViT(nn.Module):
    """A transformer over square patches of a picture (Dosovitskiy et al., 2021).

    Patches are projected to `width`, get a learned position each, pass `depth` pre-norm blocks and are averaged
    (no class token: Zhai et al., 2022) before a linear layer. Input [batch, *image_shape], output [batch, num_outputs].

    Raises ConfigError where `patch_size` does not divide height and width.
    """

    offers: ClassVar[frozenset[str]] = frozenset({"residual_blocks", "blocks", "tensor_plan"})

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        width: int = 64,
        depth: int = 4,
        num_heads: int = 4,
        patch_size: int = 2,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        norm: Literal["layer", "batch"] = "layer",
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        if height % patch_size or breadth % patch_size:
            raise ConfigError(f"model.patch_size={patch_size} does not divide pictures of {height}x{breadth} pixels")
        num_patches = (height // patch_size) * (breadth // patch_size)
        self.patches = nn.Conv2d(channels, width, patch_size, stride=patch_size)
        self.positions = nn.Parameter(torch.zeros(1, num_patches, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, num_heads, dropout, attention_dropout, norm) for _ in range(depth)))
        self.norm = token_norm(norm, width)
        self.head = nn.Linear(width, num_outputs)
        initialise(self)
        nn.init.normal_(
            self.positions, std=0.5
        )  # as strong as a patch: small pictures are learned in half the steps of 0.02

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)  # batch, patches, width
        x = self.blocks(self.dropout(x + self.positions))
        output: Tensor = self.head(self.norm(x).mean(dim=1))
        return output

    def pieces(self) -> list[nn.Module]:
        """Where it can be cut: between blocks, after the patches and before the head."""

        def embed(x: Tensor, batch: object) -> Tensor:
            return self.dropout(self.patches(x).flatten(2).transpose(1, 2) + self.positions)  # type: ignore[no-any-return]  # torch's

        return [
            Piece(embed, self.patches, self.dropout, positions=self.positions),
            *(Piece(None, block) for block in self.blocks),
            Piece(lambda x, batch: self.head(self.norm(x).mean(dim=1)), self.norm, self.head),
        ]
