"""DeepSpeed's engine as it is started here, and where in its flat tensors a rank's part of each parameter lies."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from launcher.adapters.deepspeed import fragment_of
from launcher.artifacts.checkpoint.pieces import Piece, Pieces, region, run_blocks

BUCKET = 1 << 22
"""Elements that are sent at once, where no parameter is larger, and about as many wait for their turn. DeepSpeed's own
numbers are 5e8, and 1e9 of stage 3: up to there nothing is let go, and all weights of most models lie whole on each rank."""


@dataclass
class Part:
    """`length` elements of a flattened parameter of `shape` from `start` on, at `offset` in `flat`, the tensor that the
    optimizer sees."""

    parameter: nn.Parameter
    shape: tuple[int, ...]
    start: int
    length: int
    flat: Tensor
    offset: int

    @property
    def held(self) -> Tensor:
        """This rank's elements of the parameter, in the memory that the optimizer works in."""
        return self.of(self.flat.detach())

    def of(self, flat: Tensor) -> Tensor:
        """This rank's elements in a tensor that is laid out as `flat`."""
        return flat.narrow(0, self.offset, self.length)

    def is_split(self, value: Any) -> bool:
        """Whether an entry of the optimizer's state is laid out as `flat`."""
        return isinstance(value, Tensor) and value.shape == self.flat.shape and bool(value.ndim)

    def piece(self, held: Tensor) -> Piece:
        """What this rank saves of the parameter, or of what belongs to it."""
        found, start = [], 0
        for offset, shape in run_blocks(self.shape, self.start, self.length):
            count = torch.Size(shape).numel()
            found.append((offset, held[start : start + count].view(shape)))
            start += count
        return Piece(self.shape, held.dtype, found)

    def copy_into(self, flat: Tensor, saved: Tensor | Pieces) -> None:
        """Take this rank's elements of what was saved, whole or in pieces."""
        target, start = self.of(flat), 0
        for offset, shape in run_blocks(self.shape, self.start, self.length):
            block = region(saved, offset, shape).reshape(-1)
            target[start : start + block.numel()].copy_(block)
            start += block.numel()

    def fill(self, saved: Tensor | Pieces) -> None:
        """Take up a saved parameter: for the optimizer, and where it is split for the forward pass too."""
        self.copy_into(self.flat.detach(), saved)
        split = getattr(self.parameter, "ds_tensor", None)
        if split is not None:
            split.data.view(-1)[: self.length].copy_(self.held)


def parts(optimizer: Any, parameters: Sequence[nn.Parameter], stage: int, rank: int) -> list[Part]:
    """This rank's part of each parameter, in their order; of some it may have nothing."""
    found = []
    for each in parameters:
        if stage == 3:
            group, offset, size = optimizer.grad_position[optimizer.get_param_id(each)]
            numel, shape = int(each.ds_numel), tuple(each.ds_shape)  # type: ignore[attr-defined]  # DeepSpeed's
            start = min(rank * size, numel)
            length = min(size, numel - start)
            found.append(Part(each, shape, start, length, optimizer.fp32_partitioned_groups_flat[group], offset))
            continue
        group = next(index for index, members in enumerate(optimizer.bit16_groups) if any(each is m for m in members))
        flat, mapping = optimizer.single_partition_of_fp32_groups[group], fragment_of(each)
        if mapping is None:
            found.append(Part(each, tuple(each.shape), 0, 0, flat, 0))
        else:
            ours, flats = mapping.lp_fragment_address, mapping.hp_fragment_address
            found.append(Part(each, tuple(each.shape), ours.start, ours.numel, flat, flats.start))
    return found


def initialize(model: nn.Module, optimizer: Optimizer, stage: int, device: torch.device) -> Any:
    """DeepSpeed's engine for a model and an optimizer, in the process group that is there.

    It neither clips nor scales nor counts portions: a step does. On CPUs its own collectives, which a compiler would
    have to build, are left out, and gloo's are used.
    """
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # its import sets its own
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)  # it asks by old names
    if device.type == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(torch.distributed.get_backend(), auto_mpi_discovery=False, verbose=False)
    bucket = max(BUCKET, *(each.numel() for each in model.parameters()))
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
        "zero_optimization": {
            "stage": stage,
            "overlap_comm": device.type == "cuda",
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "stage3_prefetch_bucket_size": bucket,
            "stage3_max_live_parameters": 2 * bucket,
            "stage3_max_reuse_distance": 0,
        },
    }
    return deepspeed.initialize(model=model, optimizer=optimizer, config=config, dist_init_required=False)[0]
