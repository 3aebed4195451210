"""One process on one device."""

from __future__ import annotations

from typing import Literal

from launcher.core.parallel import Parallel
from launcher.memory.precision import Precision

from .devices import choose_device


class Single(Parallel):
    """One process with the whole model on one device."""

    def __init__(self, precision: Precision, device: str = "auto", num_processes: Literal[1] = 1) -> None:
        super().__init__(precision, choose_device(device))
