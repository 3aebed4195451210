"""A task in float64, in which what two ways of computing differ by is the mathematics, or 1e-13.

LAUNCHER_TRUST has to allow `tests.support.double.*`.
"""

from __future__ import annotations

from torch import nn

from launcher.tasks.text_classification import TextClassification

TRUST = {"LAUNCHER_TRUST": "tests.support.double.*"}


class Texts(TextClassification):
    """Texts and their labels; the weights, and with them all that is computed, are float64."""

    def model(self) -> nn.Module:
        made: nn.Module = super().model()
        return made.double()
