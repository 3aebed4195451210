"""How much memory there is for a rank, and whether a model may be too large for it at sight."""

from __future__ import annotations

import copy
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig
from torch import nn

from launcher.config.signatures import locate
from launcher.console.numbers import size
from launcher.train.build import model_factory

if TYPE_CHECKING:
    from launcher.core.memory_shares import Shares
    from launcher.core.task import Task

GIB = 1 << 30
DOUBT = 4
"""A model whose weights and gradients take more than one part of so many of the memory is looked at more closely."""


@dataclass(frozen=True)
class Room:
    """The memory that there is for a rank: bytes, in words, and bytes that something else of the process takes."""

    total: int
    words: str
    taken: int = 0


def room(config: DictConfig, local: int | None = None) -> Room:
    """What is stated by `parallel.device_memory_gb` (GiB of each rank's device), else what the device found here has.

    Ranks on a CPU share its memory, all of them or the `local` ones, and each has its interpreter and libraries
    in it.
    """
    stated = config.parallel.get("device_memory_gb")
    if stated is not None:
        return Room(int(stated * GIB), f"{size(stated * GIB)} stated for a device")
    if not on_host(config) and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        return Room(total, f"{size(total)} of {torch.cuda.get_device_name(0)}")
    total, ranks = host_memory(), local or int(config.parallel.num_processes)
    shared = "" if ranks == 1 else f", of which each of {ranks} ranks has its part"
    return Room(total // ranks, f"{size(total)} of this machine{shared}", resident())


def host_memory() -> int:
    """This machine's memory in bytes, or the limit of the control group that this process is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(total, int(text)) if text.isdigit() else total


def resident() -> int:
    """Bytes of this process that are in memory now; 0 where the system does not say."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if path.is_file() else 0


def on_host(config: DictConfig) -> bool:
    """Whether the run computes on the CPU, as far as can be told here: a stated device memory is an accelerator's."""
    device, stated = str(config.parallel.get("device", "auto")), config.parallel.get("device_memory_gb")
    if device == "auto":
        return stated is None and not torch.cuda.is_available()
    return device == "cpu"


def in_doubt(config: DictConfig, task: Task) -> bool:
    """Whether a model is so large that it may not fit into the memory that there is, before any of it is taken.

    The model is made without memory, which costs next to nothing; where its weights and gradients alone are most of the
    memory, the whole run has to be gone through. What lies elsewhere (`offload`) is not judged, nor a memory that was
    stated: the driver does that.
    """
    offloads = config.parallel.get("offload") or "Offload" in config.memory._target_
    if config.parallel.get("device_memory_gb") is not None or offloads:
        return False
    shares: Shares = locate(config.parallel._target_).shares(config.parallel)
    weights = sum(each.nbytes for each in shape_of(task).parameters())
    return DOUBT * (weights // shares.parameters + weights // shares.gradients) > room(config, here()).total


def here() -> int:
    """How many ranks of the run share this machine's memory with this one, itself counted."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def shape_of(task: Task) -> nn.Module:
    """The task's network without memory; an empty one where it can not be made so."""
    factory = task.model_factory
    blank = getattr(getattr(factory, "target", None), "blank", None)
    if blank is not None:  # the factory would load what it is made of
        factory = model_factory(functools.partial(blank, **getattr(factory, "keywords", {})))
    twin: Any = copy.copy(task)
    twin.model_factory = factory
    try:
        with torch.device("meta"):
            made: nn.Module = twin.model()
    except Exception:  # code that looks into its tensors; the run itself will say what is wrong
        return nn.Module()
    return made
