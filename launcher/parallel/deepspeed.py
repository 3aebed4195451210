"""ZeRO by DeepSpeed's engine, where that package is installed and asked for."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from launcher.adapters.torch import foreach_mul_, foreach_norm
from launcher.artifacts.checkpoint.pieces import whole
from launcher.core.memory_shares import Shares
from launcher.core.run import Run
from launcher.errors import ConfigError
from launcher.memory.precision import Precision

from .batch_norm import synchronise
from .deepspeed_engine import Part, initialize, parts
from .distributed import Distributed
from .meta_copy import filled, outline
from .partitioned_optimizer import Make, PartOptimizer, looks_at_each_element
from .replicas import Group


class DeepSpeed(Distributed):
    """Rajbhandari et al., 2020, "ZeRO", by the package that it came with: `deepspeed.initialize` with our optimizer.

    The engine splits moments (stage 1), gradients (2) and weights (3) over all ranks, as runs of the flattened
    parameters, and exchanges them; the loss, its weight, clipping and checkpoints are what they are without it, so that
    the mathematics is one process's and a checkpoint our own. Weights and moments stay in float32, also beside autocast.
    Deviations: no loss scale, no offload (`parallel=fsdp` has both); DeepSpeed's checkpoints are neither written nor read.

    Raises ConfigError for half precision, and for an optimizer that looks at more than each element alone.
    """

    packages: ClassVar[dict[str, str]] = {"deepspeed": "deepspeed"}
    extra: ClassVar[str] = "deepspeed"
    capabilities: ClassVar[frozenset[str]] = frozenset({"grad_norm"})

    def __init__(
        self,
        precision: Precision,
        device: str = "auto",
        num_processes: int = 2,
        timeout_s: float = 600,
        stage: Literal[1, 2, 3] = 3,
    ) -> None:
        if precision.dtype is torch.float16:
            raise ConfigError(
                "precision=fp16: DeepSpeed's ranks share no loss scale here; precision=bf16, or parallel=zero3"
            )
        super().__init__(precision, device, num_processes, timeout_s)
        self.stage = stage
        self.saves_pieces = self.world_size > 1
        self.whole_weights = self.world_size == 1
        self.forward_together = self.world_size > 1 and stage == 3

    @classmethod
    def shares(cls, settings: Mapping[str, Any]) -> Shares:
        ranks, stage = int(settings["num_processes"]), int(settings["stage"])
        return Shares(
            parameters=ranks if stage == 3 else 1,
            gradients=ranks if stage > 1 else 1,
            optimizer=ranks,
            samples=ranks,
            gradient_copies=1 / ranks if ranks > 1 else 0,  # as the optimizer sees its part
            weight_copies=ranks if ranks > 1 else 0,
            gathers=stage == 3,
        )

    @property
    def engine(self) -> str | None:
        if self.world_size == 1:
            return None
        import deepspeed

        return f"DeepSpeed {deepspeed.__version__}, ZeRO-{self.stage}, {self.world_size} parts"

    # -- the model

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model behind the engine's forward pass; the engine itself is made with the optimizer."""
        if self.world_size == 1:
            return super().prepare(model)
        synchronise(model)
        self._outline = outline(model)
        self._wrapped = Wrapped(model.to(self.device))
        return self._wrapped

    def unwrap(self, model: nn.Module) -> nn.Module:
        return model.module if isinstance(model, Wrapped) else model

    def plain(self, model: nn.Module) -> nn.Module:
        """The model as the task made it, on the CPU, its weights not yet filled in."""
        return super().plain(model) if self.world_size == 1 else filled(self._outline, self.unwrap(model))

    def numel(self, parameter: Tensor) -> int:
        return int(getattr(parameter, "ds_numel", parameter.numel()))

    def weights(self, model: nn.Module) -> list[Tensor]:
        return [part.held for part in self._parts] if self.world_size > 1 else super().weights(model)

    def replicas(self, model: nn.Module) -> list[Group]:
        return [] if self.stage == 3 else [(None, dict(self.unwrap(model).named_parameters()))]

    def build_optimizer(self, make: Make, groups: list[dict[str, Any]]) -> Optimizer:
        own = [group | {"params": list(group["params"])} for group in groups]  # the engine changes what it is given
        made = make(groups)
        if self.world_size == 1:
            return made
        if not looks_at_each_element(made):
            raise ConfigError(
                f"optimizer: {type(made).__name__} looks at more than each element alone, and DeepSpeed gives it runs of "
                "flattened weights; parallel=ddp or zero1 gives it whole ones"
            )
        parameters = [each for group in own for each in group["params"]]
        self._engine = initialize(self._wrapped.module, made, self.stage, self.device)
        if self._engine.optimizer.optimizer is not made:
            raise ConfigError(
                f"optimizer: DeepSpeed puts one of its own in the place of {type(made).__name__}; parallel=zero2"
            )
        object.__setattr__(self._wrapped, "engine", self._engine)
        self._parts = parts(self._engine.optimizer, parameters, self.stage, self.rank)
        return EngineOptimizer(self._engine, made, own, self._parts)

    # -- a step

    @contextlib.contextmanager
    def accumulating(self, model: nn.Module) -> Iterator[None]:
        if self.world_size == 1:
            yield
            return
        self._engine.set_gradient_accumulation_boundary(False)
        try:
            yield
        finally:
            self._engine.set_gradient_accumulation_boundary(True)

    def gradients(self, run: Run) -> list[Tensor]:
        if self.world_size == 1:
            return super().gradients(run)
        held = self._engine.optimizer.averaged_gradients.values()
        return [gradient for group in held if group is not None for gradient in group]

    def grad_norm(self, run: Run) -> Tensor:
        if self.world_size == 1:
            return super().grad_norm(run)
        own = self.gradients(run)
        squares = torch.stack(foreach_norm(own)).square().sum() if own else torch.zeros((), device=self.device)
        dist.all_reduce(squares)
        return squares.sqrt()

    def clip(self, run: Run, max_norm: float) -> Tensor:
        found = self.grad_norm(run)
        foreach_mul_(self.gradients(run), (max_norm / (found + 1e-6)).clamp_(max=1.0))
        return found

    def skip(self, run: Run) -> None:
        """What the engine does where it leaves a step out itself: gradients are let go, and counted anew."""
        if self.world_size == 1:
            super().skip(run)
            return
        inner = self._engine.optimizer
        inner.zero_grad(set_to_none=True)
        for kept in (inner.averaged_gradients, getattr(inner, "all_grad_tensors", {})):
            kept.update(dict.fromkeys(kept))
        if self.stage < 3:
            inner.micro_step_id = -1

    # -- state

    def model_state(self, model: nn.Module) -> dict[str, Any]:
        if self.world_size == 1 or self.stage < 3:
            return super().model_state(model)
        held = {id(part.parameter): part.piece(part.held) for part in self._parts}
        state = self.unwrap(model).state_dict(keep_vars=True)
        return {name: held.get(id(tensor), tensor.detach()) for name, tensor in state.items()}

    def load_model(self, model: nn.Module, saved: dict[str, Any]) -> None:
        if self.world_size == 1 or self.stage < 3:
            super().load_model(model, saved)
        if self.world_size == 1:
            return
        held = {id(part.parameter): part for part in self._parts}
        for name, tensor in self.unwrap(model).state_dict(keep_vars=True).items():
            if id(tensor) in held:
                held[id(tensor)].fill(saved[name])
            elif self.stage == 3:
                tensor.data.copy_(whole(saved[name]))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return optimizer.state_dict()

    def load_optimizer(self, optimizer: Optimizer, saved: dict[str, Any]) -> None:
        optimizer.load_state_dict(saved if self.world_size > 1 else whole(saved))


class Wrapped(nn.Module):
    """A model whose forward pass is the engine's, once there is one."""

    engine: Any = None

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.engine(*args, **kwargs)


class EngineOptimizer(PartOptimizer):
    """The groups that a scheduler and a config know; the engine takes the step, with `inner`."""

    def __init__(self, engine: Any, inner: Optimizer, groups: list[dict[str, Any]], held: list[Part]) -> None:
        super().__init__(inner, groups)
        self._engine, self._parts = engine, held

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch's own overloads
        self.hand_down()
        self._engine.step()
        self.hand_up()

    def state_dict(self) -> dict[str, Any]:
        """As the optimizer's own of the whole parameters; what is split is a piece, and what the parameters of a flat tensor
        share (a count of steps) each has of its own."""
        states = {}
        for index, part in enumerate(self._parts):
            kept = self.inner.state.get(part.flat, {})
            states[index] = {
                key: part.piece(part.of(value)) if part.is_split(value) else copy.deepcopy(value)
                for key, value in kept.items()
            }
        kept_states = {index: state for index, state in states.items() if state}
        return {"state": kept_states, "param_groups": self.saved_groups(self.options())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what any way of running in parallel saved, at any number of ranks."""
        for index, part in enumerate(self._parts):
            kept = self.inner.state[part.flat] if state_dict["state"].get(index) else {}
            for key, value in state_dict["state"].get(index, {}).items():
                if not hasattr(value, "shape") or tuple(value.shape) != part.shape or not value.shape:
                    kept[key] = whole(value).clone() if hasattr(value, "shape") else value
                    continue
                if key not in kept:
                    kept[key] = torch.zeros_like(part.flat, dtype=value.dtype)
                part.copy_into(kept[key], value)
        for saved, group in zip(state_dict["param_groups"], self.param_groups, strict=True):
            group.update({key: whole(value) for key, value in saved.items() if key != "params"})
        self.hand_down()
