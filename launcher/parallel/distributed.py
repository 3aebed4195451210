"""What every strategy of several processes shares: the process group, and what ranks tell each other between steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn

from launcher.adapters.torch import flattened
from launcher.config.parallel_degrees import Degrees
from launcher.core.collectives import Difference
from launcher.core.parallel import Parallel
from launcher.errors import TrainingError
from launcher.memory.precision import Precision

from .replicas import Group, difference

_LEFT: list[Any] = []
"""What has been left holds the groups of its processes: to free one joins gloo's threads, which on a busy machine was
seen to wait for ever after the last step. The process ends without."""


class Distributed(Parallel):
    """A rank of `num_processes`, each with a device: NCCL between GPUs, gloo between CPUs.

    `timeout_s` ends a collective that some rank never joins. With one process nothing is exchanged.
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
        self._weight = 0.0  # of this step's loss, where it is a number that is taken to be the same on every rank

    def lay_out(self, laid: Degrees, *needed: str) -> None:
        """Lay the ranks out by `laid`, on a mesh of the axes with more than one rank and of those `needed`, of which
        `replicate` or `shard` is one."""
        self.degrees = laid
        self.data_rank, self.num_data_ranks = laid.data_rank(self.rank), laid.data
        if self.world_size == 1:
            return
        mesh = laid.mesh(self.device.type, *needed)
        names = tuple(axis for axis in ("replicate", "shard") if axis in (mesh.mesh_dim_names or ()))
        self.mesh, self.data_mesh = mesh, mesh[names]
        if laid.data < self.world_size:  # there are ranks with the same samples
            flat = flattened(self.data_mesh, "data") if len(names) > 1 else self.data_mesh
            self.data_group = flat.get_group()

    def sum(self, value: Any) -> Any:
        if self.apart:
            return value
        if not isinstance(value, Tensor):
            return value * self.num_data_ranks
        total = value.to(self.device, copy=True)
        if self.num_data_ranks > 1:
            dist.all_reduce(total, group=self.data_group)
        return total

    def mean(self, value: Tensor) -> Tensor:
        total: Tensor = self.sum(value)
        return value if self.apart else total / self.num_data_ranks

    def max(self, value: float) -> float:
        if self.world_size == 1 or self.apart:
            return value
        largest = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return float(largest)

    def of_this_rank(self, weight: float) -> Any:
        return torch.tensor(float(weight), device=self.device) if self.num_data_ranks > 1 else weight

    def whole(self, weight: Any) -> Any:
        self._weight = 0.0 if isinstance(weight, Tensor) else float(weight)
        return self.sum(weight)

    def agree(self, flag: bool) -> bool:
        """One step late, so that the collective runs beside the computation and nobody waits for it. With it goes the
        weight of the step's loss: raises TrainingError where that was a number and not the same on every rank."""
        if self.apart:
            return flag
        said = False
        if self._flag is not None:
            work, tensor = self._flag
            work.wait()
            raised, most, negated = tensor.tolist()
            said, least = bool(raised), -negated
            if most != least:
                raise TrainingError(
                    f"the loss's weight was a plain number, and not the same on every rank: from {least:g} to {most:g}, so "
                    "that each would train weights of its own. A weight that depends on the data is a tensor"
                )
        fresh = torch.tensor([float(flag), self._weight, -self._weight], dtype=torch.float64, device=self.device)
        self._flag = (dist.all_reduce(fresh, op=dist.ReduceOp.MAX, async_op=True), fresh)
        return said

    def replicas(self, model: nn.Module) -> list[Group]:
        """What is to be the same on the ranks of which groups."""
        return []

    def differing(self, model: nn.Module) -> Difference | None:
        if self.world_size == 1 or self.apart:
            return None
        own = difference(self.replicas(model), self.device)
        worst = self.max(-1.0 if own is None else own.share)
        if worst < 0:
            return None
        heard = self.gather_states({} if own is None else own._asdict())
        return Difference(**next(each for each in heard if each.get("share") == worst))

    def gather_states(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        if self.world_size == 1 or self.apart:
            return [state]
        states: list[dict[str, Any]] = [{} for _ in range(self.world_size)]
        dist.all_gather_object(states, state)
        return states

    def barrier(self) -> None:
        if self.world_size > 1 and not self.apart:
            dist.barrier()

    def close(self) -> None:
        if self.world_size > 1:
            _LEFT.extend((self, dist.group.WORLD))
        self.accelerator.end_training()
