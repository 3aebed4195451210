"""How a fit uses the processor and the memory of the machine that it runs on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from launcher.functional.flops import counter

if TYPE_CHECKING:
    from launcher.core.run import Run

SMALL = 2e6
"""Operations of a micro-batch's forward pass up to which two threads bring next to nothing (docs/training.md)."""
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""mallopt's names for what glibc gives back to the system (mallopt(3))."""
LARGEST_THRESHOLD = 32 << 20
"""The largest piece that glibc can be asked to take from memory it holds, on 64 bits."""


def keep_memory() -> None:
    """Have glibc keep what a step frees, for the next step: else each step's tensors are given back to the system and
    come again as fresh pages, which it has to clear first. The peak stays what it is. Elsewhere nothing is done; nor
    where the environment already says how (`MALLOC_…`)."""
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and mallopt(MMAP_THRESHOLD, LARGEST_THRESHOLD):
        mallopt(TRIM_THRESHOLD, (1 << 31) - 1)


@contextlib.contextmanager
def suitable_threads(run: Run) -> Iterator[None]:
    """One thread for a step that is too small to be shared out, as long as the context lasts.

    Threads that wait for each other after every few microseconds of work cost more than they bring, and many times more
    where another program wants a core. Decided from the model and one sample alone, so that a run that goes on has the
    threads that it had, and with them the same rounding. `OMP_NUM_THREADS` is a person's word and counts.
    """
    before = torch.get_num_threads()
    stated = "OMP_NUM_THREADS" in os.environ
    if before > 1 and not stated and run.parallel.world_size == 1 and run.parallel.device.type == "cpu" and small(run):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def small(run: Run) -> bool:
    """Whether a micro-batch's forward pass has at most `SMALL` operations, as one sample's has them."""
    if run.settings.compile:  # which has threads of its own idea, and would be compiled for this sample
        return False
    model = run.main.model
    training = model.training
    model.eval()
    operations = counter()
    with operations:
        sample = run.loaders.train.samples.fetch(torch.zeros(1, dtype=torch.int64))
        run.parallel.forward(run.task, model, run.parallel.place(sample))
    model.train(training)
    return int(operations.get_total_flops()) * run.loaders.train.batch_size / run.loaders.train.accumulate <= SMALL
