"""Stochastic depth."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from launcher.core.algorithm import Algorithm
from launcher.core.run import Run


class StochasticDepth(Algorithm):
    """In training, the branches of residual block l of L are left out with probability rate * l / L, sample by sample.

    Huang et al. (2016), the linear rule of their equation 4. For models whose blocks have a `drop_path`. The default
    rate is that of DeiT (Touvron et al., 2021); the paper takes 0.5 for a network of 54 blocks.
    """

    needs_model: ClassVar[frozenset[str]] = frozenset({"residual_blocks"})

    def __init__(self, rate: float = 0.1) -> None:
        self.rate = rate

    def model(self, run: Run, model: nn.Module) -> nn.Module:
        blocks: list[Any] = [module for module in model.modules() if hasattr(module, "drop_path")]
        for depth, block in enumerate(blocks, start=1):
            block.drop_path = self.rate * depth / len(blocks)
        return model
