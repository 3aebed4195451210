"""ZeRO stage 1: data parallel in which each rank keeps the optimizer's state for a part of the parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from torch.optim import Optimizer

from launcher.artifacts.checkpoint.pieces import whole
from launcher.core.communication import Communication
from launcher.core.memory_shares import Shares
from launcher.memory.precision import Precision

from .ddp import DDP
from .partitioned_optimizer import DealtOptimizer, Make


class Zero1(DDP):
    """Rajbhandari et al., 2020, "ZeRO", stage 1: the moments of each parameter are kept by one rank, which updates it.

    Gradients are averaged as by `parallel=ddp`; after its step a rank sends the parameters that it owns to all others.
    Parameters are dealt out whole, so that every optimizer works as it does alone, those that look at whole matrices too.
    """

    capabilities: ClassVar[frozenset[str]] = DDP.capabilities - {"full_state"}

    def __init__(
        self,
        precision: Precision,
        communication: Communication,
        device: str = "auto",
        num_processes: int = 2,
        timeout_s: float = 600,
    ) -> None:
        super().__init__(precision, communication, device, num_processes, timeout_s)
        self.saves_pieces = self.world_size > 1

    @classmethod
    def shares(cls, settings: Mapping[str, Any]) -> Shares:
        ranks = int(settings["num_processes"])
        return dataclasses.replace(super().shares(settings), optimizer=ranks, sends_weights=ranks > 1)

    @property
    def engine(self) -> str | None:
        return f"ZeRO-1: {super().engine}, moments in {self.world_size} parts" if self.world_size > 1 else None

    def build_optimizer(self, make: Make, groups: list[dict[str, Any]]) -> Optimizer:
        return DealtOptimizer(make, groups, self.rank, self.world_size) if self.world_size > 1 else make(groups)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return optimizer.state_dict()

    def load_optimizer(self, optimizer: Optimizer, saved: dict[str, Any]) -> None:
        optimizer.load_state_dict(saved if isinstance(optimizer, DealtOptimizer) else whole(saved))
