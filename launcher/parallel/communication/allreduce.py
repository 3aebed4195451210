"""The plain average of the gradients."""

from __future__ import annotations

from launcher.core.communication import Communication


class AllReduce(Communication):
    """The mean of the gradients over the ranks, in their own type. DDP does it by itself unless it is measured."""

    def measure(self) -> None:
        super().measure()
        self.hook()
