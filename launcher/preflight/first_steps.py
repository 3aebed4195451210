"""The first steps of a run, taken in a process of its own, and the memory that they took: what an allocator and
libraries take beside the tensors is known to no estimate.

The process is one as a run's: a fresh interpreter that goes through `worker.work`, with evaluations, checkpoints, the
page and the export, in a folder that is gone afterwards. No tracker hears of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from launcher.artifacts.folder import write_config

STEPS, EVERY, BATCHES = 6, 2, 2
"""So many steps, with an evaluation of so many batches and a checkpoint after each so many: after the second of each the
heap hardly grows."""
LIMIT_S = 120
"""A rehearsal that takes longer is given up: the run may wait for something that no estimate of its work knows of."""
RATE = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "_partial_": True, "factor": 1e-12, "total_iters": 1 << 30}
"""Of so few steps no warm-up can be made, and at the full rate the first ones may diverge. At next to none the first evaluation
stays the best: at the end its weights are loaded beside the last ones, as in most runs."""
SAID = "memory.json"


@dataclass(frozen=True)
class Rehearsal:
    """Bytes of a process: what was resident when the data were read and no model was made, and the most ever."""

    before: int
    peak: int
    steps: int


def rehearse(config: DictConfig, limit_s: float = LIMIT_S) -> Rehearsal | None:
    """What the run that `config` describes takes in one process here; None where its steps could not be taken."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_config(shortened(config), folder)
        words = [sys.executable, "-m", "launcher.launch.first_steps", place, str(os.getpid())]
        try:
            subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=True)
        except (subprocess.SubprocessError, OSError):
            return None
        return Rehearsal(**json.loads((folder / SAID).read_text()))


def shortened(config: DictConfig) -> DictConfig:
    """The same run in a few steps, as far as memory goes."""
    config = config.copy()
    settings = config.training
    settings.max_steps = min(STEPS, settings.max_steps or STEPS)
    settings.max_epochs = settings.max_time = settings.stop_after = None
    settings.find_batch_size = settings.predictions = False
    settings.eval_every, settings.checkpoint_every, settings.log_every = EVERY, EVERY, EVERY
    config.scheduler, config.tracker, config.stopping, config.action = RATE, {}, {}, "train"
    if config.optimizer.get("lr") == "auto":
        config.optimizer.lr = 1e-3
    return config


def share_of_steps(config: DictConfig) -> float:
    """What a rehearsal computes, in steps of the run: an evaluation has a forward pass, a third of a step."""
    settings = config.training
    samples = BATCHES * int(settings.eval_batch_size or max(256, settings.batch_size))
    return STEPS + (STEPS // EVERY + 1) * samples / int(settings.batch_size) / 3
