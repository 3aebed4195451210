"""Failures of a fit, in one line that a person can act on."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.artifacts.result import record_failure
from launcher.errors import ConfigError, LauncherError, TrainingError, WorkerLost

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from launcher.core.parallel import Parallel
    from launcher.core.run import Run

_NO_MEMORY = re.compile(r"can't allocate memory|std::bad_alloc|^could not create a primitive$")
"""What PyTorch's allocator, C++ and oneDNN say where the system gives no more; of other failures oneDNN says more."""


def out_of_memory(error: Exception) -> bool:
    """Whether the device or the system had no more memory to give."""
    import torch

    if isinstance(error, LauncherError):  # which may quote one that was
        return False
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or _NO_MEMORY.search(str(error)) is not None


@contextlib.contextmanager
def recorded(config: DictConfig, folder: Path, parallel: Parallel) -> Iterator[None]:
    """A rank's whole work: a failure stands in result.json afterwards, and the process group is left. A ConfigError is
    none: nothing has been written, and the driver says what is wrong."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        explained = (
            TrainingError(f"out of memory before the first step: {error}. Try a smaller model")
            if out_of_memory(error)
            else error
        )
        if parallel.is_main:
            record_failure(folder, config, explained)
        if explained is error:
            raise
        raise explained from error
    finally:
        parallel.close()


def explain(error: Exception, run: Run) -> Exception:
    """The error as the person should see it: what a full memory or disk means here, and what would help. What was wrong
    from the beginning (a picture that cannot be read) and is found only now ends a run that has begun: it stays."""
    if isinstance(error, ConfigError):
        return TrainingError(str(error))
    size, accumulate = run.settings.batch_size, run.settings.accumulate
    if out_of_memory(error):
        return TrainingError(
            f"out of memory at step {run.progress.step + 1} with training.batch_size={size}. Try "
            f"training.accumulate={2 * accumulate} (the same mathematics in smaller portions; "
            "training.find_batch_size=true finds how small), memory=checkpointing, precision=bf16, a smaller "
            "training.batch_size, or a smaller model"
        )
    if isinstance(error, IndexError) and (found := re.fullmatch(r"Target (-?\d+) is out of bounds\.", str(error))):
        return TrainingError(
            f"a label is out of range at step {run.progress.step + 1}: {found[1]}, where the model's outputs are counted "
            "from 0. The task's number of classes and its labels do not agree (debug=true shows where the loss was taken)"
        )
    if found := re.search(r"Timed out waiting (\d+)ms", str(error)):
        return WorkerLost(
            f"a collective of step {run.progress.step + 1} had no answer within {int(found[1]) / 1000:g} s (parallel.timeout_s)"
        )
    if disk_full(error):
        steps = run.checkpoints.steps()
        good = f"; the last good checkpoint is {run.checkpoints.folder / f'step-{steps[-1]}'}" if steps else ""
        return TrainingError(f"the disk is full: {getattr(error, 'filename', None) or run.folder}{good}")
    return error


def disk_full(error: Exception) -> bool:
    """Whether the disk had no more room; libraries in other languages say so only in words."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return not isinstance(error, LauncherError) and os.strerror(errno.ENOSPC) in str(error)
