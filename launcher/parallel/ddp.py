"""Data parallel over processes: each has the whole model, and gradients are averaged while backward runs."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn

from launcher.precision import Precision

from .base import Parallel
from .batch_norm import synchronise


class DDP(Parallel):
    """`torch.nn.parallel.DistributedDataParallel` through Accelerate (Li et al., 2020).

    Its hooks average over the ranks; `forward_backward` scales each rank's sum so that the average is the gradient
    of the mean over the whole step. Batch norms take their statistics over all ranks. `timeout_s` ends a collective
    that some rank never joins. With one process it is that process and nothing is exchanged.
    """

    def __init__(
        self, precision: Precision, device: str = "auto", num_processes: int = 2, timeout_s: float = 600
    ) -> None:
        on_cpu = device == "cpu" or not torch.cuda.is_available()
        process_group = InitProcessGroupKwargs(backend="gloo" if on_cpu else None, timeout=timedelta(seconds=timeout_s))
        self.accelerator = Accelerator(cpu=on_cpu, kwargs_handlers=[process_group] if num_processes > 1 else [])
        super().__init__(
            precision, self.accelerator.device, self.accelerator.process_index, self.accelerator.num_processes
        )
        self._flag: tuple[Any, Tensor] | None = None

    def prepare(self, model: nn.Module) -> nn.Module:
        if self.world_size > 1:
            synchronise(model)
        wrapped: nn.Module = self.accelerator.prepare_model(model)
        return wrapped

    def unwrap(self, model: nn.Module) -> nn.Module:
        inner: nn.Module = self.accelerator.unwrap_model(model)
        return inner

    def accumulating(self, model: nn.Module) -> contextlib.AbstractContextManager[object]:
        if self.world_size == 1:
            return super().accumulating(model)
        context: contextlib.AbstractContextManager[object] = model.no_sync()  # type: ignore[operator]  # DDP's
        return context

    def sum(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value * self.world_size
        total = value.to(self.device, copy=True)
        if self.world_size > 1:
            dist.all_reduce(total)
        return total

    def mean(self, value: Tensor) -> Tensor:
        total: Tensor = self.sum(value)
        return total / self.world_size

    def max(self, value: float) -> float:
        if self.world_size == 1:
            return value
        largest = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return float(largest)

    def agree(self, flag: bool) -> bool:
        """One step late, so that the collective runs beside the computation and nobody waits for it."""
        said = False
        if self._flag is not None:
            work, tensor = self._flag
            work.wait()
            said = bool(tensor.item())
        fresh = torch.tensor(float(flag), device=self.device)
        self._flag = (dist.all_reduce(fresh, op=dist.ReduceOp.MAX, async_op=True), fresh)
        return said

    def gather_states(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        if self.world_size == 1:
            return [state]
        states: list[dict[str, Any]] = [{} for _ in range(self.world_size)]
        dist.all_gather_object(states, state)
        return states

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.barrier()

    def close(self) -> None:
        self.accelerator.end_training()
