"""`training.find_batch_size`: the largest batch that fits, by trying."""

from __future__ import annotations

import math
import signal
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from launcher.artifacts.folder import read_config, write_config
from launcher.console.console import Console
from launcher.console.numbers import things
from launcher.errors import ConfigError, LauncherError, TrainingError

from .first_steps import Rehearsal, rehearse

if TYPE_CHECKING:
    from launcher.core.parallel import Parallel


NEAR = 16
"""The search ends when what fits and what does not are this part of it apart: memory is not the same to the byte in every try."""
PATIENCE_S = 600
"""How long the first steps of a run may take that would show how much memory it needs."""


def settle(config: DictConfig, folder: Path, console: Console) -> None:
    """Put the largest batch that fits into the config, and into the run's config.yaml.

    From `training.batch_size` on it is doubled until it does not fit or is all of the training data, then bisected to a
    sixteenth. Each size is tried in a process of its own, forked from a warm one, so that a try leaves nothing behind,
    whatever becomes of it. On a CPU the first steps of the run itself are then taken with what was found, and it goes
    down until their process holds no more than was stated. Sizes are multiples of `training.accumulate`. Raises ConfigError on a CPU without a stated limit, where
    the system would swap or kill before it said that memory is short, TrainingError where nothing fits.
    """
    from launcher.process.forkserver import PRELOAD, start_server
    from launcher.train.build import build_task

    from .rehearsal import refuse_unless_rehearsable

    if not _on_gpu(config) and config.parallel.get("device_memory_gb") is None:
        raise ConfigError(
            "training.find_batch_size=true: a CPU has no memory of its own that could be full; parallel.device_memory_gb says how much may be used"
        )
    unit = int(config.training.accumulate)
    task = build_task(config)
    refuse_unless_rehearsable(task, "there are no batches whose size could be found")
    most = len(task.datasets().train) // unit
    context = start_server([*PRELOAD])
    tried: dict[int, bool] = {}

    def fits(size: int) -> bool:
        if size not in tried:
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_try, args=(str(folder), size * unit, writer))  # type: ignore[attr-defined]  # of every context
            process.start()
            writer.close()
            said = reader.recv() if reader.poll(None) and not _closed(reader) else None
            process.join()
            if said is None and process.exitcode not in (-signal.SIGKILL, -signal.SIGABRT):
                raise TrainingError(f"a batch of {size * unit} ended its process with status {process.exitcode}")
            if isinstance(said, str):
                raise TrainingError(f"a batch of {size * unit} could not be tried: {said}")
            tried[size] = bool(said)
        return tried[size]

    low, high = 0, most + 1  # the largest known to fit, the smallest known not to
    size = min(most, max(1, config.training.batch_size // unit))
    while size < high and fits(size):
        low, size = size, min(2 * size, most)
        if size == low:
            break
    high = min([each for each, fitted in tried.items() if not fitted], default=high)
    while high - low > max(1, low // NEAR) and low < most:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    num_tried = len(tried)
    if low and not _on_gpu(config):
        low, high, more = _held(config, low, high, unit)
        num_tried += more
    if low == 0:
        raise TrainingError(f"not even a batch of {unit} fits: memory=checkpointing, precision=bf16 or a smaller model")
    config.training.batch_size, config.training.find_batch_size = low * unit, False
    write_config(config, folder)
    end = "all of the training data" if low == most else f"{high * unit} does not"
    console.message(f"batch size: {low * unit} fits, {end} (found in {things(num_tried, 'step')})")


def _held(config: DictConfig, low: int, high: int, unit: int) -> tuple[int, int, int]:
    """The largest size up to `low` with which a run's process takes no more than is stated, the smallest known to take more
    (`high` where none does), and how many were tried. What can not be rehearsed counts as it was found."""
    from .capacity import GIB

    limit, seen = float(config.parallel.device_memory_gb) * GIB, dict[int, Rehearsal | None]()

    def excess(size: int) -> float:
        """How many times what the run may add to its process it adds; 0 where that can not be told."""
        tried = config.copy()
        tried.training.batch_size = size * unit
        taken = seen[size] = rehearse(tried, PATIENCE_S)
        if taken is None:
            return 0.0
        return (taken.peak - taken.before) / (limit - taken.before) if taken.before < limit else math.inf

    while low and (times := excess(low)) > 1:
        high, low = low, max(0, min(low - max(1, low // (2 * NEAR)), int(low / times)))
    while low and len(seen) > 1 and high - low > max(1, low // NEAR):
        middle = (low + high) // 2
        low, high = (middle, high) if excess(middle) <= 1 else (low, middle)
    return low, high, len(seen)


def _closed(reader: Connection) -> bool:
    """Whether the other end was closed without a word."""
    try:
        return not reader.poll(0)
    except (EOFError, OSError):
        return True


def _on_gpu(config: DictConfig) -> bool:
    import torch

    return str(config.parallel.device) != "cpu" and torch.cuda.is_available()


def _try(folder: str, batch_size: int, answer: Connection) -> None:
    """In a process of its own: whether two steps and a batch of an evaluation fit; else what went wrong, in words."""
    from launcher.process.forkserver import leave_with_the_driver
    from launcher.train.failures import out_of_memory

    leave_with_the_driver()
    try:
        _steps(read_config(Path(folder)), batch_size)
        answer.send(True)
    except Exception as error:
        told = str(error) if isinstance(error, LauncherError) else f"{type(error).__name__}: {error}"
        answer.send(False if out_of_memory(error) else told)


def _steps(config: DictConfig, batch_size: int) -> None:
    import torch

    from launcher.process.signals import Interrupt
    from launcher.train.build import build_parallel, build_run, build_task

    from .rehearsal import rehearsal

    config.training.batch_size, config.tracker = batch_size, {}
    if config.optimizer.lr == "auto":
        config.optimizer.lr = 1e-3
    parallel = build_parallel(config)
    task = build_task(config)
    data = task.datasets()
    torch.ones(2, requires_grad=True).sum().backward()  # autograd's own thread is not to be counted
    _limit(config, parallel)
    with tempfile.TemporaryDirectory() as place:
        run = build_run(config, Path(place), task, data, task.model(), parallel, lambda _: None, Interrupt())
        training_step, batches = rehearsal(run), run.loaders.train.start(0)
        for step in range(2):  # the second one with the optimizer's state
            run.progress.step = step
            training_step(run, training_step.take(run, batches))
        if run.loaders.val is not None:
            with torch.no_grad(), parallel.precision.autocast(parallel.device):
                batch = parallel.place(next(iter(run.loaders.val)))
                task.loss(task.forward(run.judged_model().eval(), batch), batch)


def _limit(config: DictConfig, parallel: Parallel) -> None:
    """What is stated for the device is all that this process gets: of the device's memory, or of the system's."""
    stated = config.parallel.get("device_memory_gb")
    if stated is None:
        return
    import torch

    from .capacity import GIB, resident

    if parallel.device.type == "cuda":
        total = torch.cuda.get_device_properties(parallel.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, stated * GIB / total), parallel.device)
        return
    import resource

    status = Path("/proc/self/status").read_text()
    mapped = int(next(line for line in status.splitlines() if line.startswith("VmData:")).split()[1]) * 1024
    left = int(stated * GIB) - resident()
    if left <= 0:
        raise MemoryError
    resource.setrlimit(resource.RLIMIT_DATA, (mapped + left, mapped + left))
