"""How a strategy spreads a run's memory over its ranks: what `action=plan` asks of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shares:
    """Over how many ranks each kind is spread; 1: every rank has all of it."""

    parameters: int = 1
    gradients: int = 1
    optimizer: int = 1
    activations: int = 1
    """Of the same samples, where ranks split the model."""
    samples: int = 1
    """The ranks that have samples of their own."""
    gradient_copies: int = 0
    """How many times gradients lie about once more, whole, to be sent (DDP's buckets: 1)."""
    weight_copies: int = 0
    """Over how many ranks one more copy of the weights, that an optimizer works on, is spread; 0: there is none."""
    gathers: bool = False
    """Whether the weights of a block are brought together while it computes."""
