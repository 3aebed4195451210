"""Memory: what a forward pass keeps for the backward pass, and where.

The model's modules stay the ones they are, with the names of their weights: what is done around a module's forward
stands behind the module's own class.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from launcher.errors import ConfigError
from launcher.functional.batch_norm import statistics_kept


class Memory:
    """What backward needs is kept where it was computed."""

    needs_model: ClassVar[frozenset[str]] = frozenset()
    """What a model has to offer, as an algorithm's `needs_model`."""

    def prepare(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model with its forward passes changed, before it is wrapped. Raises ConfigError for one that can not be."""
        return model

    def notice(self, device: torch.device) -> str | None:
        """What a person should know of its use on `device`."""
        return None


class Checkpointing(Memory):
    """Of each repeated block only the input is kept; backward computes what is inside once more.

    Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost", a segment a block. Memory falls from that of all
    layers to that of one block and the blocks' inputs, for one more forward pass. Dropout draws the same numbers again,
    and the running statistics of batch norms are moved by the first pass alone. Models of `transformers` bring it
    with them; in others the blocks are the modules of one class that stand in a row.
    """

    needs_model: ClassVar[frozenset[str]] = frozenset({"blocks"})

    def prepare(self, model: nn.Module, device: torch.device) -> nn.Module:
        enable: Any = getattr(model, "activation_checkpointing_enable", None)
        if enable is not None:
            try:
                enable(activation_checkpointing_kwargs={"use_reentrant": False})
            except ValueError as error:  # a kind of model that does not know how
                raise ConfigError(f"memory: {type(model).__name__} can not be checkpointed: {error}") from error
            return model
        found = blocks(model)
        if not found:
            raise ConfigError(f"memory: {type(model).__name__} has no blocks of one class in a row to be checkpointed")
        for block in found:
            _behind(block, Recomputed)
        return model


class Offload(Memory):
    """What backward needs is copied into the host's memory and brought back when its turn comes.

    Rhu et al., 2016, "vDNN"; `torch.autograd.graph.save_on_cpu`, which copies the weights too: here they stay, as they
    are on the device anyway. On a CPU there is nothing to move.
    """

    def prepare(self, model: nn.Module, device: torch.device) -> nn.Module:
        if device.type != "cpu":
            _behind(model, Offloaded)
        return model

    def notice(self, device: torch.device) -> str | None:
        return "memory: offload moves nothing here, the device is the CPU" if device.type == "cpu" else None


class CheckpointingOffload(Checkpointing, Offload):
    """Both: of each block the input is kept, in the host's memory."""

    def prepare(self, model: nn.Module, device: torch.device) -> nn.Module:
        return Offload.prepare(self, Checkpointing.prepare(self, model, device), device)


class Recomputed(nn.Module):
    """Behind a block's class: its forward pass keeps its input alone."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*args, **kwargs)  # of the class that stands before this one

        def contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
            return contextlib.nullcontext(), statistics_kept(self)

        return checkpoint(super().forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


class Offloaded(nn.Module):
    """Behind a model's class: what its forward pass saves lies in the host's memory until backward asks for it."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        weights = {parameter.untyped_storage().data_ptr() for parameter in self.parameters()}

        def pack(tensor: Tensor) -> tuple[torch.device | None, Tensor]:
            if tensor.device.type == "cpu" or tensor.untyped_storage().data_ptr() in weights:
                return None, tensor
            kept = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
            return tensor.device, kept.copy_(tensor, non_blocking=tensor.is_cuda)

        def unpack(packed: tuple[torch.device | None, Tensor]) -> Tensor:
            device, tensor = packed
            return tensor if device is None else tensor.to(device, non_blocking=True)

        with saved_tensors_hooks(pack, unpack):
            return super().forward(*args, **kwargs)  # of the class that stands before this one


def blocks(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks: what stands two or more in a row, of one class, with weights; not those inside others."""
    if isinstance(model, nn.ModuleList | nn.Sequential) and len(model) > 1:
        children = list(model.children())
        if len({type(child) for child in children}) == 1 and next(children[0].parameters(), None) is not None:
            return children
    return [block for child in model.children() for block in blocks(child)]


def _behind(module: nn.Module, base: type[nn.Module]) -> None:
    """Give `module` a class of the same name whose forward is that of `base`, around its own."""
    module.__class__ = _joined(base, type(module))  # type: ignore[arg-type]  # mypy: classes are hashable


@functools.cache
def _joined(base: type[nn.Module], kind: type[nn.Module]) -> type[nn.Module]:
    """One class for all modules of a kind, so that they still are of one class."""
    return type(kind.__name__, (base, kind), {"__module__": kind.__module__})
