"""How a strategy spreads a run's memory over its ranks: what `action=plan` asks of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shares:
    """Over how many ranks each kind is spread; 1: every rank has all of it."""

    parameters: int = 1
    gradients: int = 1
    optimizer: int = 1
    activations: float = 1
    """Of the same samples, where ranks split the model."""
    samples: int = 1
    """The ranks that have samples of their own."""
    portions_wait: bool = False
    """Whether all portions of a step wait for their backward passes, those of `training.accumulate` too (GPipe)."""
    gradient_copies: float = 0
    """How many times gradients lie about once more, whole: to be sent (DDP's buckets: 1), or for an optimizer."""
    weight_copies: int = 0
    """Over how many ranks one more copy of the weights, that an optimizer works on, is spread; 0: there is none."""
    sends_weights: bool = False
    """Whether an update sends all weights, from copies (ZeRO-1)."""
    layers: int = 1
    """Over how many ranks single layers are split, with what is computed between them (tensor parallel)."""
    whole_on_host: bool = False
    """Whether all of the model stays in the host's memory, of which a device has a part."""
    gathers: bool = False
    """Whether the weights of a block are brought together while it computes, and its gradient is sent as a whole."""
