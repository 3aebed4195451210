"""Private names of DeepSpeed."""

from __future__ import annotations

from typing import Any

from torch import nn


def fragment_of(parameter: nn.Parameter) -> Any:
    """Where a rank's part of a parameter lies in the flat weights of stages 1 and 2; None where it has none."""
    return parameter._hp_mapping  # type: ignore[attr-defined]  # deepspeed 0.19.8
