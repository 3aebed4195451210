"""Tensor parallel: ranks compute parts of the same layers, for the same samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn
from torch.distributed.tensor import DTensor

from launcher.config.parallel_degrees import degrees
from launcher.core.memory_shares import Shares
from launcher.errors import TrainingError
from launcher.memory.precision import Precision

from .batch_norm import synchronise
from .fsdp import FSDP
from .meta_copy import outline
from .tensor_layers import Region
from .tensor_plan import plan, split


class TensorParallel(FSDP):
    """Attention heads, perceptrons and vocabularies in parts (Shoeybi et al., 2019, "Megatron-LM"), by a model's plan.

    `tensor_size` ranks (null: all that the other sizes leave) compute one model, for the same samples. `shard_size`
    such sets have other samples and keep a part of each other's weights besides, by `fully_shard` on a mesh of two
    axes; `replicate_size` further ones average their gradients. What no layer of the plan has lies whole on each rank
    of a set, where the same is computed.

    Raises ConfigError for a model without a plan, and for numbers of heads or features that do not go up.
    """

    needs_model: ClassVar[frozenset[str]] = frozenset({"tensor_plan"})

    def __init__(
        self,
        precision: Precision,
        device: str = "auto",
        num_processes: int = 2,
        timeout_s: float = 600,
        tensor_size: int | None = None,
        shard_size: int = 1,
        replicate_size: int = 1,
        reshard: bool = True,
        offload: bool = False,
    ) -> None:
        self._tensor_size = tensor_size  # the ranks are laid out by what follows
        super().__init__(precision, device, num_processes, timeout_s, reshard, shard_size, replicate_size, offload)

    def further_sizes(self) -> dict[str, Any]:
        return {"tensor_size": self._tensor_size}

    @classmethod
    def shares(cls, settings: Mapping[str, Any]) -> Shares:
        laid, found = degrees(settings), super().shares(settings)
        return dataclasses.replace(
            found,
            parameters=found.parameters * laid.tensor,
            gradients=found.gradients * laid.tensor,
            optimizer=found.optimizer * laid.tensor,
            gathers=laid.data > 1,
            layers=laid.tensor,
        )

    @property
    def engine(self) -> str | None:
        if self.world_size == 1:
            return None
        sets = "" if self.degrees.data == 1 else f" x {super().engine}"
        return f"layers in {self.degrees.tensor} parts{sets}"

    def prepare(self, model: nn.Module) -> nn.Module:
        if self.world_size == 1:
            return super().prepare(model)
        size = self.degrees.tensor
        styles = plan(model) if size > 1 else {}
        if self.degrees.data > 1:
            synchronise(model, self.data_group)
        self._outline = outline(model)
        packed: dict[str, tuple[int, int]] = {}
        if styles:
            packed = split(model, styles, Region(self.mesh["tensor"], _draws(model), self.device))
        if self.degrees.data > 1:
            self._wrap(model)
        else:
            model.to(self.device)
        parameters = dict(model.named_parameters())
        for name, made_of in packed.items():
            parameters[name].packed = made_of  # type: ignore[attr-defined]  # how `dtensors.spans` knows
        for name in styles:
            weight = getattr(model.get_submodule(name), "weight", None)
            if styles[name] != "replicated_with_grad_allreduce" and not isinstance(weight, DTensor):
                raise TrainingError(f"the layers were not split: {name} lies whole on each rank")
        return model


def _draws(model: nn.Module) -> bool:
    """Whether something in a model draws numbers in training."""
    modules = list(model.modules())
    rates = [getattr(module, "attention_dropout", 0.0) for module in modules]
    rates += [module.p for module in modules if isinstance(module, nn.Dropout)]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)
