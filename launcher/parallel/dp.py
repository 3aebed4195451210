"""Data parallel in one process: each GPU computes a share of every batch with a copy of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn

from launcher.adapters.torch import BatchNorm
from launcher.core.memory_shares import Shares
from launcher.core.parallel import Parallel
from launcher.errors import ConfigError
from launcher.memory.precision import Precision

from .devices import Generators, choose_devices

if TYPE_CHECKING:
    from launcher.core.run import Run


class DP(Parallel):
    """`torch.nn.DataParallel`: a batch is dealt out to `devices` (null: all GPUs), and outputs are gathered on the first.

    There the loss of the whole batch is computed, so the mathematics is that of one device; the first one has the
    gradients, the moments and the outputs of all. `parallel=ddp` takes a process for each device and is faster. Without
    a GPU, or with one, there is nothing to deal out: it is `parallel=single`, and the header says so.

    Raises ConfigError for batch norm on several devices, where each would see its own share alone.
    """

    capabilities: ClassVar[frozenset[str]] = Parallel.capabilities

    def __init__(
        self,
        precision: Precision,
        device: str = "auto",
        devices: list[str] | None = None,
        num_processes: Literal[1] = 1,
    ) -> None:
        self.devices = choose_devices(devices, device)
        if len(self.devices) > 1 and any(each.type != "cuda" for each in self.devices):
            raise ConfigError(
                "parallel.devices: copies in one process are for GPUs; parallel=ddp has one on each CPU process"
            )
        super().__init__(precision, self.devices[0])
        self._generators = Generators(self.devices)

    @classmethod
    def shares(cls, settings: Mapping[str, Any]) -> Shares:
        num = len(settings["devices"] or ()) or max(1, torch.cuda.device_count())
        return Shares(activations=num, gradient_copies=1 if num > 1 else 0)

    @property
    def engine(self) -> str:
        if len(self.devices) == 1:
            return f"one device, {self.devices[0]}: nothing to deal out, as with parallel=single"
        return f"torch DataParallel on {', '.join(map(str, self.devices))}"

    def prepare(self, model: nn.Module) -> nn.Module:
        model = super().prepare(model)
        if len(self.devices) == 1:
            return model
        if any(isinstance(module, BatchNorm) for module in model.modules()):
            raise ConfigError(
                "batch norm in copies would see a copy's samples alone; model.norm=layer, or parallel=ddp, which takes it over all"
            )
        return nn.DataParallel(model, [each.index for each in self.devices])

    def unwrap(self, model: nn.Module) -> nn.Module:
        inner: nn.Module = model.module if isinstance(model, nn.DataParallel) else model
        return inner

    def rank_state(self, run: Run) -> dict[str, Any]:
        return self._generators.state_dict()

    def load_rank_state(self, run: Run, state: dict[str, Any]) -> None:
        self._generators.load_state_dict(state)
