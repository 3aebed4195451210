"""Digits, in trials that end badly, each in its own way; LAUNCHER_TRUST has to allow `tests.support.failing.*`."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from launcher.data.samples import Batch
from launcher.errors import ConfigError
from launcher.tasks.image_classification import ImageClassification

TRUST = {"LAUNCHER_TRUST": "tests.support.failing.*"}


class Fails(ImageClassification):
    """The fifth training step goes wrong as `how` says; "fine" does not."""

    def __init__(self, *args: Any, how: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.how, self.batches = how, 0

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        self.batches += model.training
        if self.batches == 5:
            getattr(self, self.how)()
        return super().forward(model, batch)

    def fine(self) -> None: ...

    def refuses(self) -> None:
        """While REFUSE stands in the environment: in every fit but the first, once that one is over."""
        own = Path("/proc/self/fd/1").readlink().parent  # of its log
        if own.name != "seed-0" and "REFUSE" in os.environ:
            while not (own.parent / "seed-0" / "result.json").exists():
                time.sleep(0.05)
            raise ConfigError("the digits are not for everybody")

    def raises(self) -> None:
        raise ValueError("the third digit is one too many")

    def crashes(self) -> None:
        ctypes.string_at(0)

    def overflows(self) -> None:
        torch.empty(1 << 60)

    def hangs(self) -> None:
        time.sleep(10_000)

    def missing(self) -> None:
        """As long as a file is not there, which says to every trial that what it needs is not there yet."""
        if not Path(os.environ["NEEDED"]).exists():
            raise FileNotFoundError(f"{os.environ['NEEDED']} is needed by process {os.getpid()}")
