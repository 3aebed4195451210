"""Model parallel: one process whose model lies on several devices, some layers on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from launcher.adapters.torch import foreach_mul_, foreach_norm
from launcher.core.memory_shares import Shares
from launcher.core.parallel import Parallel
from launcher.errors import ConfigError
from launcher.functional.cuts import cuts
from launcher.memory.precision import Precision

from .devices import Generators, choose_devices
from .meta_copy import filled, outline

if TYPE_CHECKING:
    from launcher.core.run import Run
    from launcher.core.task import Task
    from launcher.data.samples import Batch


class ModelParallel(Parallel):
    """Layers placed over `devices` in their order, such that the fullest has as few parameters as can be.

    A batch passes from device to device, and its gradient back: while one computes the others wait (a pipeline keeps them
    busy). What the last layer gives is brought to the first device, where the loss is computed. A layer that shares a
    weight with an earlier one (tied embeddings) lies where that one does. Where `devices` is null, all GPUs that torch
    sees; without one it is the model on one device.

    Raises ConfigError for a model that does not say where it can be cut, and for fewer layers than devices.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"grad_norm", "closure"})

    def __init__(
        self,
        precision: Precision,
        device: str = "auto",
        devices: list[str] | None = None,
        num_processes: Literal[1] = 1,
    ) -> None:
        self.devices = choose_devices(devices, device)
        super().__init__(precision, self.devices[0])
        self.whole_weights = False
        self._generators = Generators(self.devices)
        self._stages: list[tuple[nn.Module, torch.device]] = []

    @classmethod
    def shares(cls, settings: Mapping[str, Any]) -> Shares:
        num = len(settings["devices"] or ()) or max(1, torch.cuda.device_count())
        return Shares(num, num, num, num)

    @property
    def engine(self) -> str:
        if len(self.devices) == 1:
            return f"one device, {self.devices[0]}: it has all layers, as with parallel=single"
        on = [f"{device} {sum(place == index for place in self._places)}" for index, device in enumerate(self.devices)]
        return f"layers by their size on {', '.join(on)}"

    def prepare(self, model: nn.Module) -> nn.Module:
        self._outline = outline(model)
        stages = self.task.stages(model, None)
        if len(stages) < len(self.devices):
            raise ConfigError(
                f"parallel.devices: {len(self.devices)} devices, and {type(model).__name__} can be cut into {len(stages)} parts"
            )
        self._places = places(stages, len(self.devices))
        self._stages = [(stage, self.devices[place]) for stage, place in zip(stages, self._places, strict=True)]
        model.to(self.device)  # what no stage has
        for stage, device in reversed(self._stages):
            stage.to(device)
        return model

    def plain(self, model: nn.Module) -> nn.Module:
        """The model as the task made it, on the CPU, its weights not yet filled in."""
        return filled(self._outline, model)

    def forward(self, task: Task, model: nn.Module, batch: Batch) -> Any:
        x: Any = None
        here: dict[torch.device, Batch] = {self.device: batch}
        for stage, device in self._stages:
            if device not in here:
                here[device] = {name: column.to(device, non_blocking=True) for name, column in batch.items()}
            x = stage(x if x is None else x.to(device), here[device])
        return x.to(self.device)

    # -- what operations of many tensors at once want on one device

    def whole(self, weight: Any) -> Any:
        return weight.cpu() if isinstance(weight, Tensor) else weight

    def grad_norm(self, run: Run) -> Tensor:
        norms = [norm.to(self.device) for norm in foreach_norm(self.gradients(run))]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return norm

    def clip(self, run: Run, max_norm: float) -> Tensor:
        norm = self.grad_norm(run)
        foreach_mul_(self.gradients(run), (max_norm / (norm + 1e-6)).clamp_(max=1.0).cpu())
        return norm

    def rank_state(self, run: Run) -> dict[str, Any]:
        return self._generators.state_dict()

    def load_rank_state(self, run: Run, state: dict[str, Any]) -> None:
        self._generators.load_state_dict(state)


def places(stages: Sequence[nn.Module], num: int) -> list[int]:
    """The device of `num` that each stage lies on: runs of stages, the largest as small as can be; a stage that shares a
    weight with an earlier one goes where that one is."""
    owners: dict[Tensor, int] = {}
    free: list[int] = []  # the stages that share none with an earlier one
    sizes: list[int] = []
    with_: dict[int, int] = {}
    for index, stage in enumerate(stages):
        own = list(stage.parameters())
        shared = [owners[each] for each in own if each in owners]
        for each in own:
            owners.setdefault(each, index)
        if shared:
            with_[index] = shared[0]
        else:
            free.append(index)
            sizes.append(sum(each.numel() for each in own))
    if len(free) < num:
        raise ConfigError(f"parallel.devices: {num} devices, and the model has {len(free)} parts that share no weight")
    found = [0] * len(stages)
    start = 0
    for place, end in enumerate(cuts(tuple(sizes), num)):
        for index in free[start:end]:
            found[index] = place
        start = end
    for index, first in with_.items():
        found[index] = found[first]
    return found
