"""The transformer encoder: the blocks that `transformer` and `vit` share, and a classifier of texts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from launcher.errors import ConfigError
from launcher.functional.drop_path import drop_path

from ..stages import Piece
from .layers import TokenBatchNorm


class Block(nn.Module):
    """One pre-norm layer (Xiong et al., 2020): self-attention and a perceptron with GELU, each added to its input.

    x = x + attention(norm(x)); x = x + mlp(norm(x)). `dropout` acts on both branches and inside the perceptron,
    `attention_dropout` on the attention weights. Input and output [batch, tokens, width].
    """

    drop_path = 0.0
    """The share of samples whose branch is left out in training; stochastic depth sets it."""
    tp_plan: ClassVar[dict[str, str]] = {
        "qkv": "packed_colwise:3",
        "out": "rowwise",
        "mlp.0": "colwise",
        "mlp.3": "rowwise",
    }

    def __init__(
        self,
        width: int,
        num_heads: int,
        dropout: float,
        attention_dropout: float,
        norm: str = "layer",
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ConfigError(f"model.width={width} is not a multiple of model.num_heads={num_heads}")
        self.num_heads, self.head_width = num_heads, width // num_heads
        self.attention_dropout = attention_dropout
        hidden = round(width * mlp_ratio)
        self.norm1 = token_norm(norm, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = token_norm(norm, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` is True where a token may be attended to: [batch, 1, 1, tokens]."""
        rate = self.drop_path if self.training else 0.0
        x = x + drop_path(self.dropout(self.attention(self.norm1(x), mask)), rate)
        output: Tensor = x + drop_path(self.dropout(self.mlp(self.norm2(x))), rate)
        return output

    def attention(self, x: Tensor, mask: Tensor | None) -> Tensor:
        heads = (
            self.qkv(x).unflatten(-1, (3, -1, self.head_width)).permute(2, 0, 3, 1, 4)
        )  # 3, batch, heads (those of this rank, where they are split), tokens, head width
        query, key, value = heads.unbind()
        rate = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        output: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return output


def token_norm(name: str, width: int) -> nn.Module:
    """The normalisation of tokens [batch, tokens, width] that `model.norm` names: `layer` or `batch`. Raises ConfigError."""
    if name == "layer":
        return nn.LayerNorm(width)
    if name == "batch":
        return TokenBatchNorm(width)
    raise ConfigError(f"model.norm={name}: a transformer takes layer or batch")


def initialise(model: nn.Module) -> None:
    """Linear layers by Glorot and Bengio (2010) with biases zero, embeddings from a normal distribution of deviation 0.02."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)


class Transformer(nn.Module):
    """A small encoder for texts: token and position embeddings, `depth` blocks, the mean over the real tokens, a linear layer.

    Input: `input_ids` (int64) and `attention_mask` (1 at real tokens), both [batch, tokens] with at most
    `max_length` tokens. Output [batch, num_outputs]. What stands at padding does not change the output.
    """

    offers: ClassVar[frozenset[str]] = frozenset({"residual_blocks", "blocks", "tensor_plan"})
    tp_plan: ClassVar[dict[str, str]] = {"tokens": "embedding_rowwise"}  # beside that of the blocks

    def __init__(
        self,
        vocab_size: int,
        num_outputs: int,
        max_length: int,
        width: int = 128,
        depth: int = 2,
        num_heads: int = 4,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(max_length, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, num_heads, dropout, attention_dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_outputs)
        initialise(self)

    def get_input_embeddings(self) -> nn.Module:
        """The module that makes vectors of tokens, by the name it has in transformers."""
        return self.tokens

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        real = attention_mask.bool()
        x = self._embed(input_ids)
        for block in self.blocks:
            x = block(x, real[:, None, None, :])
        return self._judge(x, real)

    def _embed(self, input_ids: Tensor) -> Tensor:
        x = self.tokens(input_ids) + self.positions(torch.arange(input_ids.shape[1], device=input_ids.device))
        embedded: Tensor = self.dropout(x)
        return embedded

    def _judge(self, x: Tensor, real: Tensor) -> Tensor:
        kept = real.unsqueeze(-1).to(x.dtype)
        mean = (self.norm(x) * kept).sum(dim=1) / kept.sum(dim=1).clamp_min(1)
        output: Tensor = self.head(mean)
        return output

    def pieces(self) -> list[nn.Module]:
        """Where it can be cut: between blocks, after the embeddings and before the head. Batches have `attention_mask`."""

        def attend(x: Tensor, batch: Mapping[str, Tensor], block: nn.Module) -> Tensor:
            found: Tensor = block(x, batch["attention_mask"].bool()[:, None, None, :])
            return found

        return [
            Piece(lambda x, batch: self._embed(x), self.tokens, self.positions, self.dropout),
            *(Piece(partial(attend, block=block), block) for block in self.blocks),
            Piece(lambda x, batch: self._judge(x, batch["attention_mask"].bool()), self.norm, self.head),
        ]
