"""Weights, gradients and moments split over the ranks: ZeRO stages 2 and 3, and hybrid sharding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, cast

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from launcher.adapters.torch import foreach_mul_, overflows
from launcher.artifacts.checkpoint.pieces import Piece, Pieces, whole
from launcher.config.parallel_degrees import Degrees, degrees
from launcher.core.memory_shares import Shares
from launcher.core.run import Run
from launcher.errors import ConfigError, TrainingError
from launcher.memory.precision import Precision

from .batch_norm import synchronise
from .distributed import Distributed
from .dtensor_parts import fill, like, local, norm, piece, split_share
from .meta_copy import filled, outline
from .partitioned_optimizer import LocalOptimizer, Make, looks_at_each_element
from .replicas import Group


class FSDP(Distributed):
    """`torch.distributed.fsdp.fully_shard` (FSDP2; Zhao et al., 2023) around each block of a model, and around the rest.

    Each of `shard_size` ranks keeps a part of every weight, of its gradient and of its moments, and other samples;
    `replicate_size` such sets of ranks average their gradients (hybrid sharding). A block's weights are gathered before
    it is computed. With `reshard` they are let go after it and gathered anew for its backward pass (ZeRO-3), without
    they stay until then (ZeRO-2). With `offload` weights, gradients and moments lie in the CPU's memory, where the
    optimizer works too.

    Gradients of a step's micro-batches are exchanged once, with the last one.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"grad_norm", "closure"})

    def __init__(
        self,
        precision: Precision,
        device: str = "auto",
        num_processes: int = 2,
        timeout_s: float = 600,
        reshard: bool = True,
        shard_size: int | None = None,
        replicate_size: int = 1,
        offload: bool = False,
    ) -> None:
        super().__init__(precision, device, num_processes, timeout_s)
        self.reshard = reshard
        self.offload = offload
        sizes = {"shard_size": shard_size, "replicate_size": replicate_size} | self.further_sizes()
        self.lay_out(degrees(sizes, self.world_size) if self.world_size > 1 else Degrees(), "shard")
        self._outline: nn.Module | None = None
        self.saves_pieces = self.world_size > 1
        self.forward_together = self.degrees.data > 1
        self.whole_weights = self.world_size == 1

    def further_sizes(self) -> dict[str, Any]:
        """The sizes of other axes that the ranks are laid out along."""
        return {}

    @classmethod
    def shares(cls, settings: Mapping[str, Any]) -> Shares:
        laid = degrees(settings)
        held = laid.shard if settings["reshard"] else 1  # whole from a step's forward to its backward pass
        return Shares(held, laid.shard, laid.shard, samples=laid.data, gathers=True)

    @property
    def engine(self) -> str | None:
        if self.world_size == 1:
            return None
        sets = f", {self.degrees.replicate} times" if self.degrees.replicate > 1 else ""
        when = "twice a step (ZeRO-3)" if self.reshard else "once a step (ZeRO-2)"
        where = ", kept in the CPU's memory" if self.offload else ""
        return f"torch fully_shard, {self.degrees.shard} parts{sets}, a block's weights gathered {when}{where}"

    # -- the model

    def prepare(self, model: nn.Module) -> nn.Module:
        """Split in place, block by block: a device holds one whole block at a time on the way.

        Raises ConfigError for a parameter that can not be split, TrainingError where the model was not.
        """
        if self.world_size == 1:
            return super().prepare(model)
        scalar = next((name for name, each in model.named_parameters() if each.ndim == 0), None)
        if scalar is not None:
            raise ConfigError(
                f"the model's parameter {scalar} is a single number, which can not be split; parallel=zero1 does"
            )
        synchronise(model, self.data_group)
        self._outline = outline(model)
        self._wrap(model)
        return model

    def _wrap(self, model: nn.Module) -> None:
        """Split what the data ranks share out."""
        policy = CPUOffloadPolicy(pin_memory=self.device.type == "cuda") if self.offload else OffloadPolicy()
        for block in blocks(model):
            fully_shard(block, mesh=self.data_mesh, reshard_after_forward=self.reshard, offload_policy=policy)
        fully_shard(
            model, mesh=self.data_mesh, reshard_after_forward=None if self.reshard else False, offload_policy=policy
        )
        _check_split(model, self.degrees.shard)

    def plain(self, model: nn.Module) -> nn.Module:
        """The model as the task made it, on the CPU, its weights not yet filled in."""
        return super().plain(model) if self._outline is None else filled(self._outline, model)

    def replicas(self, model: nn.Module) -> list[Group]:
        """A weight over each axis of ranks that it is not split along."""
        sizes = {} if self.world_size == 1 else dict(zip(self.mesh.mesh_dim_names or (), self.mesh.shape, strict=True))
        found: dict[str, dict[str, Tensor]] = {axis: {} for axis, size in sizes.items() if size > 1}
        for name, parameter in model.named_parameters():
            axes: dict[str, Any] = {}
            if isinstance(parameter, DTensor):
                axes = dict(zip(parameter.device_mesh.mesh_dim_names or (), parameter.placements, strict=True))
            for axis, tensors in found.items():
                if axis not in axes or axes[axis].is_replicate():
                    tensors[name] = local(parameter.detach())
        return [(self.mesh.get_group(axis), tensors) for axis, tensors in found.items()]

    def evaluated(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def build_optimizer(self, make: Make, groups: list[dict[str, Any]]) -> Optimizer:
        made = make(groups)
        return LocalOptimizer(make, groups) if self.world_size > 1 and looks_at_each_element(made) else made

    # -- a step

    @contextlib.contextmanager
    def accumulating(self, model: nn.Module) -> Iterator[None]:
        if not isinstance(model, FSDPModule):
            yield
            return
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)

    def local(self, tensors: list[Tensor]) -> list[Tensor]:
        return [local(tensor) for tensor in tensors]

    def grad_norm(self, run: Run) -> Tensor:
        return norm(self.whole_gradients(run), self.device)

    def clip(self, run: Run, max_norm: float) -> Tensor:
        found = self.grad_norm(run)
        foreach_mul_(self.gradients(run), (max_norm / (found + 1e-6)).clamp_(max=1.0))
        return found

    def unscale(self, run: Run) -> None:
        """Each rank looks at its part of the gradients; what overflows on one counts on all."""
        if self.scaler is None:
            return
        inner = self._inner(run)
        if inner is run.main.optimizer:
            raise TrainingError(f"precision=fp16: {type(inner).__name__} can not be scaled where weights are split")
        cast(LocalOptimizer, run.main.optimizer).hand_down()
        self.scaler.unscale_(inner)
        if self.world_size > 1:
            for found in overflows(self.scaler, inner):
                dist.all_reduce(found, op=dist.ReduceOp.MAX)

    def step(self, run: Run) -> None:
        if self.scaler is None:
            super().step(run)
            return
        self.scaler.step(self._inner(run))
        self.scaler.update()
        cast(LocalOptimizer, run.main.optimizer).hand_up()

    def _inner(self, run: Run) -> Optimizer:
        return getattr(run.main.optimizer, "inner", run.main.optimizer)

    # -- state

    def model_state(self, model: nn.Module) -> dict[str, Any]:
        if self.world_size == 1:
            return super().model_state(model)
        made: dict[int, Tensor | Piece] = {}  # tied weights are one
        state = model.state_dict(keep_vars=True)
        return {name: made.setdefault(id(tensor), piece(tensor)) for name, tensor in state.items()}

    def load_model(self, model: nn.Module, saved: dict[str, Any]) -> None:
        if self.world_size == 1:
            super().load_model(model, saved)
            return
        state = model.state_dict(keep_vars=True)
        if state.keys() != saved.keys():
            raise TrainingError(
                f"the checkpoint is of another model: {', '.join(sorted(state.keys() ^ saved.keys())[:4])}"
            )
        for name, tensor in state.items():
            fill(tensor, saved[name])

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        found = optimizer.state_dict()
        if self.world_size > 1 and not isinstance(optimizer, LocalOptimizer):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            found["state"] = {
                index: {key: _piece(parameters[index], value) for key, value in state.items()}
                for index, state in found["state"].items()
            }
        return found

    def load_optimizer(self, optimizer: Optimizer, saved: dict[str, Any]) -> None:
        if isinstance(optimizer, LocalOptimizer):
            optimizer.load_state_dict(saved)
            return
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        split = {
            index: {
                key: like(parameters[index], value) if isinstance(value, Tensor | Pieces) else value
                for key, value in state.items()
            }
            for index, state in saved["state"].items()
        }
        optimizer.load_state_dict({"state": split, "param_groups": whole(saved["param_groups"])})


def _piece(parameter: Tensor, value: Any) -> Any:
    """What this rank saves of an entry of a parameter's state, which is split as the parameter is."""
    return piece(parameter, value) if isinstance(value, DTensor) else value


def blocks(model: nn.Module) -> list[nn.Module]:
    """The modules that a model repeats: of each outermost list or sequence, those of a class that occurs in it twice.

    A block with a weight that is used outside of it too (tied weights) is none.
    """
    found: list[nn.Module] = []
    holders: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        holders[id(parameter)] = holders.get(id(parameter), 0) + 1

    def walk(module: nn.Module) -> None:
        for child in module.children():
            entries = list(child.children()) if isinstance(child, nn.ModuleList | nn.Sequential) else []
            kinds = [type(entry) for entry in entries if any(True for _ in entry.parameters())]
            repeated = [entry for entry in entries if kinds.count(type(entry)) > 1 and _alone(entry, holders)]
            found.extend(repeated)
            if not repeated:
                walk(child)

    walk(model)
    return found


def _alone(module: nn.Module, holders: dict[int, int]) -> bool:
    own: dict[int, int] = {}
    for _, parameter in module.named_parameters(remove_duplicate=False):
        own[id(parameter)] = own.get(id(parameter), 0) + 1
    return all(holders[number] == count for number, count in own.items())


def _check_split(model: nn.Module, num: int) -> None:
    """Hold a model that should be split against what a rank holds; wrapping that does nothing trains just as well."""
    left = [name for name, each in model.named_parameters() if not isinstance(each, DTensor)]
    if left:
        raise TrainingError(f"the weights were not split: {left[0]} lies whole on each rank")
    most = sum(
        -(-each.shape[0] // num) * (each.numel() // each.shape[0]) for each in model.parameters() if each.numel()
    )
    share, total = split_share(model), sum(each.numel() for each in model.parameters())
    if share * total > most + 0.5:
        raise TrainingError(f"the weights were not split: a rank holds {share:.1%} of them, of {num} parts")
