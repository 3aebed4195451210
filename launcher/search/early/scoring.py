"""A candidate's side of a study: it is scored with fresh weights, tells the study, and leaves."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig
from torch import nn

from launcher.artifacts.result import unfinished, write_result
from launcher.config.instantiate import instantiate
from launcher.data.samples import moved
from launcher.errors import ConfigError
from launcher.monitors.inference import measured
from launcher.parallel.devices import choose_device
from launcher.preflight.rehearsal import refuse_unless_rehearsable
from launcher.process.seeds import derive
from launcher.search.study.away import Waiting
from launcher.search.study.storage import open_storage
from launcher.train.build import build_task

from .first_filter import MEASURED, PROXY, SCORE

if TYPE_CHECKING:
    from launcher.core.task import Task
    from launcher.data.samples import Batch


def fresh(config: DictConfig, num_samples: int, device: torch.device) -> tuple[Task, nn.Module, Batch]:
    """What a proxy looks at: the task, its network with the weights that training would begin with, and samples."""
    task = build_task(config)
    refuse_unless_rehearsable(task, "hydra.sweeper.proxy scores networks by a batch that they train on")
    samples = task.datasets().train
    torch.manual_seed(derive(config.seed, "init"))
    model: Any = task.model()
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(derive(0, "proxy")))
    rows = order[:num_samples].sort().values
    return task, model.to(device), moved(samples.fetch(rows), device)


def score(config: DictConfig, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Score the candidate that `config` describes, with the `facts` that the driver has told; returns what stands in
    result.json, where it is paused at step 0.

    All candidates see the same samples. Raises ConfigError for what only data and model can show to be wrong.
    """
    from launcher.search.study.study import PAUSED

    wanted, started = facts["proxy"], time.monotonic()
    device = choose_device(str(config.parallel.device))
    task, model, batch = fresh(config, wanted["num_samples"], device)
    parameters = list(model.parameters())
    found: dict[str, float] = {
        "parameters": sum(each.numel() for each in parameters),
        "trainable_parameters": sum(each.numel() for each in parameters if each.requires_grad),
    }
    if set(MEASURED) & set(wanted["known"]):
        monitor = next(each for each in config.monitor.values() if str(each._target_).endswith(".Inference"))
        timed = {name: column[: monitor.num_samples] for name, column in batch.items()}
        found |= measured(task, model, timed, device, instantiate(config.precision), monitor.seconds)
    proxy = instantiate({"_target_": wanted["target"], "_partial_": True}, group="hydra.sweeper.proxy")
    found[PROXY] = float(proxy(task, model, batch))
    if found[PROXY] != found[PROXY]:
        raise ConfigError(f"hydra.sweeper.proxy: {wanted['target']} is not a number for this candidate")
    waiting = Waiting(partial(print, flush=True))
    opened = partial(open_storage, facts["storage"], Path(facts["folder"]), waiting)
    waiting(f"the study of {facts['folder']}", opened).set_trial_user_attr(facts["trial"], SCORE, found)
    result = unfinished(config) | {
        "status": "pruned",
        "reason": PAUSED,
        "metrics": {f"proxy/{wanted['target'].rpartition('.')[2]}": found[PROXY]},
        "steps": 0,
        "epochs": 0.0,
        "wall_s": time.monotonic() - started,
    }
    result |= {name: found[name] for name in ("parameters", "trainable_parameters")}
    write_result(folder, result)
    return result
