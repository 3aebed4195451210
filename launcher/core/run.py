"""Run: all mutable state of one fit, and what of it a checkpoint keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from launcher.optim.base import with_weights
from launcher.process.random_state import rng_state, set_rng_state
from launcher.process.signals import Interrupt

if TYPE_CHECKING:
    from launcher.artifacts.checkpoint.checkpoints import Checkpoints
    from launcher.artifacts.recent_predictions import Seen
    from launcher.config.schema import Training
    from launcher.data.batches import Batches, EvalBatches
    from launcher.data.samples import Datasets
    from launcher.trackers.recorder import Recorder

    from .algorithm import Algorithm
    from .loop import Loop
    from .parallel import Parallel
    from .task import Task


LEAVES = ("preempted", "paused")
"""The reasons to stop of a run that comes back: nothing is concluded, only saved."""


@dataclass
class Part:
    """A model with what trains it. Most runs have one, called "main"."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any  # Warmup, or what has its methods


@dataclass
class Progress:
    """How far a fit has come. Times are sums over all its sessions."""

    step: int = 0
    tokens: int = 0  # over all ranks, where the task counts them
    wall_s: float = 0.0
    started: float = field(default_factory=time.monotonic)  # this session

    def elapsed(self) -> float:
        """Seconds of training so far, over all sessions."""
        return self.wall_s + time.monotonic() - self.started


@dataclass
class Best:
    """The best evaluation so far, by `objective.metric`."""

    step: int | None = None
    value: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class Plan:
    """The intervals of a fit, all in steps; None is never."""

    total_steps: int | None
    steps_per_epoch: int
    log_every: int | None
    eval_every: int | None
    checkpoint_every: int | None
    checkpoint_seconds: float  # how old the last one is at least, for one that only `checkpoint_every` asks for
    max_time: float | None  # seconds of training, with the evaluation, the checkpoint and the export at its end
    limited_by: str = "max_time"  # the reason to stop once that is over
    counted_by: str = "max_epochs"  # the reason to end at `last_step`
    stop_after: int | None = None

    @property
    def last_step(self) -> int | None:
        """Where the fit ends: at its schedule's length, or before it."""
        return min((each for each in (self.total_steps, self.stop_after) if each is not None), default=None)

    @property
    def ended_by(self) -> str:
        return self.counted_by if self.last_step == self.total_steps else "stop_after"

    def logs(self, step: int) -> bool:
        """Whether a line comes after this step, as far as that is known before: a run may be stopped at any other."""
        return step == self.total_steps or bool(self.log_every and step % self.log_every == 0)


@dataclass
class Loaders:
    """This rank's batches. A loop that takes none has none, and reads `Run.data`."""

    train: Batches
    val: EvalBatches | None = None


@dataclass
class Run:
    """All mutable state of a fit, and nothing else."""

    task: Task
    data: Datasets
    parts: dict[str, Part]
    parallel: Parallel
    loaders: Loaders
    settings: Training
    plan: Plan
    objective: tuple[str, str]  # the metric's name, "minimize" or "maximize"
    seed: int
    folder: Path
    recorder: Recorder
    checkpoints: Checkpoints
    algorithms: list[Algorithm] = field(default_factory=list)
    frozen: dict[str, nn.Module] = field(default_factory=dict)
    loop: Loop | None = None
    """What trains it; None where it is built for something else than a fit."""
    progress: Progress = field(default_factory=Progress)
    best: Best = field(default_factory=Best)
    metrics: dict[str, float] = field(default_factory=dict)
    """The latest value of everything that was logged."""
    pending: list[tuple[Tensor, int | Tensor]] = field(default_factory=list)
    """This rank's losses (sum, weight) of the steps since the last log line; read all at once."""
    seen: Seen | None = None
    """On the main rank: what the latest evaluation has predicted."""
    stop: str | None = None
    """Why the fit ends before its length; None while it goes on."""
    interrupt: Interrupt = field(default_factory=Interrupt)
    report: Callable[[int, float], int] = lambda step, value: 0
    """A trial's verdict on an evaluation: 0 goes on, 1 ends it as pruned, 2 pauses it at a rung."""

    @property
    def main(self) -> Part:
        return self.parts["main"]

    @property
    def epoch(self) -> float:
        """Epochs done, as a fraction."""
        return self.progress.step / self.plan.steps_per_epoch

    def judged_model(self) -> nn.Module:
        """The model that is evaluated and exported: the one that is trained, unless optimizer or algorithm has another."""
        from .algorithm import overriding

        model = self.parallel.judged(self.main.model)
        averages = getattr(self.main.optimizer, "averages", None)
        if averages is not None:  # of an optimizer that trains other weights than it finds
            model = with_weights(model, averages())
        for hook in overriding(self.algorithms, "eval_model"):
            model = hook(self, model)
        return model

    def sizes(self) -> dict[str, int]:
        """How many parameters the model has, and how many of them are trained."""
        found = list(self.parallel.unwrap(self.main.model).parameters())
        return {
            "parameters": sum(self.parallel.numel(each) for each in found),
            "trainable_parameters": sum(self.parallel.numel(each) for each in found if each.requires_grad),
        }

    def better(self, value: float, than: float | None) -> bool:
        """Whether an objective's value beats another; anything beats None, and NaN beats nothing."""
        if value != value:
            return False
        return than is None or (value > than if self.objective[1] == "maximize" else value < than)

    def state(self) -> dict[str, Any]:
        """Everything a resume needs to go on bit for bit: nested dicts and lists of tensors and plain values."""
        return {
            "parts": {
                name: {
                    "model": self.parallel.model_state(part.model),
                    "optimizer": self.parallel.optimizer_state(part.optimizer),
                    "scheduler": part.scheduler.state_dict(),
                }
                for name, part in self.parts.items()
            },
            "parallel": self.parallel.state_dict(),
            "algorithms": [algorithm.state_dict() for algorithm in self.algorithms],
            "loop": {} if self.loop is None else self.loop.state_dict(),
            "progress": {"step": self.progress.step, "tokens": self.progress.tokens, "wall_s": self.progress.elapsed()},
            "best": vars(self.best),
            "metrics": self.metrics,
            "stop": None if self.stop in LEAVES else self.stop,
            "total_steps": self.plan.total_steps,
            "ranks": self.parallel.gather_states(
                {
                    "rng": rng_state(),
                    "pending": self._pending_state(),
                    "own": self.parallel.rank_state(self),
                    "data_rank": self.parallel.data_rank,
                }
            ),
            "recorder": self.recorder.state_dict(),
        }

    def restore(self, state: dict[str, Any], own: Sequence[str] = ()) -> None:
        """Take up what `state` returned. The reverse of it, in the legal order: weights before moments. The optimizer's options
        named in `own` stay this run's, and with them its schedule."""
        for name, part in self.parts.items():
            saved = state["parts"][name]
            self.parallel.load_model(part.model, saved["model"])
            kept = [{key: group[key] for key in own if key in group} for group in part.optimizer.param_groups]
            self.parallel.load_optimizer(part.optimizer, saved["optimizer"])
            for group, options in zip(part.optimizer.param_groups, kept, strict=True):
                group.update(options)
            same = state["total_steps"] == self.plan.total_steps and not own
            if same or part.scheduler.metric is not None:
                part.scheduler.load_state_dict(saved["scheduler"])
            else:  # another length or another rate: its schedule is the new one, at the same step
                part.scheduler.seek(state["progress"]["step"])
        self.parallel.load_state_dict(state["parallel"])
        for algorithm, saved in zip(self.algorithms, state["algorithms"], strict=True):
            algorithm.load_state_dict(saved)
        if self.loop is not None:
            self.loop.load_state_dict(state["loop"])
        self.progress = Progress(**state["progress"])
        self.best = Best(**state["best"])
        self.metrics = state["metrics"]
        self.stop = state["stop"]
        if self.stop == "max_time" and (self.plan.max_time is None or self.progress.wall_s < self.plan.max_time):
            self.stop = None
        elif self.stop != "max_time" and state["total_steps"] != self.plan.total_steps:
            self.stop = None  # whoever lengthens a run that was stopped wants it to go on
        self.recorder.load_state_dict(state["recorder"])
        ranks, rank = state["ranks"], self.parallel.rank
        shares, now = [each["data_rank"] for each in ranks], {"data_rank": self.parallel.data_rank}
        if shares == [each["data_rank"] for each in self.parallel.gather_states(now)]:
            self.pending = _steps(ranks[rank]["pending"], self.parallel.device)
            self.parallel.load_rank_state(self, ranks[rank]["own"])
            set_rng_state(ranks[rank]["rng"])
        else:  # other ranks, or other samples: the first takes over what all had seen, and dropout draws anew
            share = 1 if self.parallel.data_rank == 0 else 0
            seen = [
                _steps(entry["pending"], self.parallel.device)
                for number, entry in enumerate(ranks)
                if entry["data_rank"] not in shares[:number]
            ]
            both = [[sum(parts) * share for parts in zip(*step, strict=True)] for step in zip(*seen, strict=True)]
            self.pending = [(total, weight) for total, weight in both]

    def _pending_state(self) -> dict[str, Any] | None:
        if not self.pending:
            return None
        sums, weights = zip(*self.pending, strict=True)
        known = torch.stack(weights).cpu() if isinstance(weights[0], Tensor) else list(weights)
        return {"sums": torch.stack(sums).cpu(), "weights": known}


def _steps(pending: dict[str, Any] | None, device: torch.device) -> list[tuple[Tensor, int | Tensor]]:
    """The losses that `_pending_state` described, step by step."""
    if pending is None:
        return []
    weights = pending["weights"]
    return list(
        zip(
            pending["sums"].to(device).unbind(),
            weights.to(device).unbind() if isinstance(weights, Tensor) else weights,
            strict=True,
        )
    )
