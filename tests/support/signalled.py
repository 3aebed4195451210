"""Digits, in a run that gets a signal at a chosen moment; LAUNCHER_TRUST has to allow `tests.support.signalled.*`."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from launcher.data.samples import Batch, Datasets
from launcher.tasks.image_classification import ImageClassification

TRUST = {"LAUNCHER_TRUST": "tests.support.signalled.*"}


class Signalled(ImageClassification):
    """The signal `name` comes `at` data, model, step, evaluation or export, once: then the file `mark` is there.

    A step and an evaluation are those after `num_batches` training batches: past the first evaluation.
    """

    def __init__(
        self, *args: Any, at: str, mark: str, name: str = "SIGTERM", num_batches: int = 25, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.at, self.mark, self.number = at, Path(mark), getattr(signal, name)
        self.num_batches = num_batches
        self.batches = 0

    def now(self, at: str) -> None:
        """Send the signal if this is the moment."""
        if at == self.at and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), self.number)

    def datasets(self) -> Datasets:
        self.now("data")
        return super().datasets()

    def model(self) -> nn.Module:
        self.now("model")
        return super().model()

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        self.batches += model.training
        if self.batches >= self.num_batches:
            self.now("step" if model.training else "evaluation")
        return super().forward(model, batch)

    def export(self, model: Any, folder: Path) -> None:
        self.now("export")
        super().export(model, folder)


class Stuck(ImageClassification):
    """It comes to `at` (data or model), writes the file `mark`, and is busy there for hours: in Python, or in `compiled`
    code, which does not come back to the interpreter. Once: where the file is there already it goes on."""

    def __init__(self, *args: Any, at: str, mark: str, compiled: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.at, self.mark, self.compiled = at, Path(mark), compiled

    def stay(self, at: str) -> None:
        """Be busy if this is the place."""
        if at != self.at or self.mark.exists():
            return
        self.mark.touch()
        if self.compiled:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
        while True:
            sum(range(100))

    def datasets(self) -> Datasets:
        self.stay("data")
        return super().datasets()

    def model(self) -> nn.Module:
        self.stay("model")
        return super().model()


class Slow(ImageClassification):
    """A training step takes `seconds`."""

    def __init__(self, *args: Any, seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seconds = seconds

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        time.sleep(self.seconds if model.training else 0)
        return super().forward(model, batch)
