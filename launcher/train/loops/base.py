"""What every loop that takes steps shares: when a step is due, and what is due after it."""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from launcher.artifacts.recent_predictions import Seen
from launcher.console.numbers import number
from launcher.core.algorithm import overriding
from launcher.core.loop import Loop, StepResult
from launcher.core.run import LEAVES
from launcher.data.batches import EvalBatches
from launcher.train.best_model import best_or_last
from launcher.train.build import build_run
from launcher.train.deadline import Deadline
from launcher.train.evaluate import evaluate, predict
from launcher.train.evidence import LIMIT, gather
from launcher.train.restore import judged, restore

from .soundness import Soundness

if TYPE_CHECKING:
    import numpy as np
    from omegaconf import DictConfig
    from torch import nn

    from launcher.console.console import Console
    from launcher.core.parallel import Parallel
    from launcher.core.run import Run
    from launcher.core.task import Task
    from launcher.data.samples import Datasets
    from launcher.process.signals import Interrupt


class Stepped(Loop):
    """Trains step by step, and keeps `run` such that a checkpoint at any step's end is all there is to know.

    A subclass says what a step is (`step`) and what comes before the first one (`start`); log lines, evaluations,
    checkpoints, the end and a signal are the same for all. Nothing in a step waits for the device: losses are kept as
    tensors and read at log lines, evaluations and checkpoints. What happens only now and then is looked up once a step
    by comparing one number.
    """

    can: ClassVar[frozenset[str]] = frozenset({"steps", "resume"})

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._soundness = Soundness()

    def start(self, run: Run) -> None:
        """Make ready for `step`: step `run.progress.step` is the next one, and the first of this process."""

    @abstractmethod
    def step(self, run: Run) -> StepResult:
        """Take one training step, whose number (from 0) is `run.progress.step`; what follows from it is the caller's."""

    def samples(self, run: Run, step: int) -> list[int]:
        """Which training samples step `step` (from 0) was made of, for a message; none where that is not known."""
        return []

    def fit(self, run: Run) -> dict[str, float]:
        """Train until the plan's end or `run.stop`; returns the metrics of the best evaluation.

        Raises TrainingError for a loss that is not finite, and for a checkpoint that can not be written.
        """
        parallel, plan, progress, pending = run.parallel, run.plan, run.progress, run.pending
        parallel.begin(run)
        for hook in overriding(run.algorithms, "fit_start"):
            hook(run)
        go_on_hooks = overriding(run.algorithms, "go_on")
        interrupt, alone = run.interrupt, parallel.world_size == 1
        interrupt.early = None  # from here on it is read after each step
        deadline = None if plan.max_time is None else Deadline(run, plan.max_time)
        self.start(run)
        end, step = plan.last_step, progress.step
        event = self._next_event(run, step)
        for hook in go_on_hooks:
            hook(run)

        while run.stop is None and (end is None or step < end):
            loss, weight, skipped = self.step(run)
            pending.append((torch.zeros_like(loss), weight * 0) if skipped else (loss, weight))
            progress.step = step = step + 1

            asked = interrupt.signal is not None or (deadline is not None and deadline.due())
            if not alone:
                asked = parallel.agree(asked)
            if asked or step >= event or run.stop is not None:
                self._at_event(run, step, asked, deadline)
                event = self._next_event(run, step)
                for hook in go_on_hooks:
                    hook(run)

        return self._end(run)

    def _next_event(self, run: Run, step: int) -> int:
        plan = run.plan
        intervals = [every for every in (plan.log_every, plan.eval_every, plan.checkpoint_every) if every]
        upcoming = [(step // every + 1) * every for every in intervals]
        if plan.last_step is not None:
            upcoming.append(plan.last_step)
        return min(upcoming, default=step + 1000)

    def _at_event(self, run: Run, step: int, asked: bool, deadline: Deadline | None) -> None:
        """What is due after a step: log, evaluate, save, stop, exit; in this order, so that a checkpoint holds it all."""
        plan = run.plan
        run.checkpoints.raise_failure()
        self._soundness.check_losses(run, step, self.samples)
        if asked:
            signalled = run.parallel.max(float(run.interrupt.signal is not None)) > 0
            run.stop = run.stop or ("preempted" if signalled else plan.limited_by)
        last = step == plan.last_step or run.stop not in (None, "preempted")
        if last:
            run.parallel.bring_in(run)
        judges = run.parallel.judges
        judged = judges and run.loaders.val is not None and (last or (plan.eval_every and step % plan.eval_every == 0))
        if judged and not last and deadline is not None:
            judged = run.parallel.max(float(deadline.near())) == 0  # the last one is about to come
        judged_by_training = judged and run.objective[0].startswith("train/")
        if last or judged_by_training or (plan.log_every and step % plan.log_every == 0):
            self._log(run)
        elif plan.log_every is None:
            run.pending.clear()
        before = time.monotonic()
        improved = self._evaluate(run, step) if judged else False
        if judged and deadline is not None:
            deadline.evaluated(time.monotonic() - before)
        if run.stop not in (None, *LEAVES) and run.pending:
            self._log(run)  # ended by what was just evaluated: the losses since the last line are told too
        if judges and (last or improved or run.stop or self._checkpoint_due(run, step)):
            self._soundness.check_weights(run, step, self.samples)
            self.save(run, wait=run.stop in LEAVES)
            if deadline is not None:
                deadline.saved()
        if deadline is not None:
            deadline.pause()

    def _checkpoint_due(self, run: Run, step: int) -> bool:
        every = run.plan.checkpoint_every
        if not every or step % every:
            return False
        old = time.monotonic() - run.checkpoints.saved_at >= run.plan.checkpoint_seconds
        return run.parallel.max(float(old)) > 0

    def _log(self, run: Run) -> None:
        """The mean loss since the last line, over all ranks, and the rates."""
        sums = torch.stack([total for total, _ in run.pending]).cpu().double().sum()
        weights = sum(weight for _, weight in run.pending)
        both = run.parallel.sum(torch.tensor([float(sums), float(weights)], dtype=torch.float64))
        run.pending.clear()
        values = {"train/loss": float(both[0] / both[1])} if both[1] else {}  # every step may have been left out
        rates = [float(group["lr"]) for group in run.main.optimizer.param_groups]
        values["lr"] = rates[0]
        values |= {
            f"lr/{group['name']}": float(group["lr"]) for group in run.main.optimizer.param_groups if "name" in group
        }
        for hook in overriding(run.algorithms, "log"):
            values.update(hook(run))
        self._record(run, values)

    def _evaluate(self, run: Run, step: int) -> bool:
        """Evaluate, tell whoever listens, and say whether this is the best so far."""
        assert run.loaders.val is not None
        seen = (
            Seen(step, run.loaders.val.places(LIMIT)) if run.parallel.is_main and run.parallel.whole_weights else None
        )
        found = self.evaluate(run, seen)
        run.seen = seen
        metrics = {f"val/{name}": value for name, value in found.items()}
        self._record(run, metrics)
        name = run.objective[0]
        value = run.metrics[name]
        improved = run.better(value, run.best.value)
        if improved:
            run.best.step, run.best.value, run.best.metrics = step, value, dict(metrics)
        self.console.evaluation(step, run.epoch, metrics, improved)
        cut = run.main.scheduler.evaluated(run.metrics)
        if cut is not None:
            before, after = (number(rate) for rate in cut)
            self.console.message(f"step {step}: {run.main.scheduler.metric} has not improved: rate {before} → {after}")
            self._record(run, {"lr": cut[1]})
        for hook in overriding(run.algorithms, "eval_end"):
            hook(run, metrics)  # also when the run leaves now: a resume does not come to this evaluation again
        verdict = run.parallel.max(float(run.report(step, value)))  # rank 0's: every rank hears it here
        if verdict and run.stop is None:
            run.stop = "pruned" if verdict == 1 else "paused"
        return improved

    def _record(self, run: Run, values: dict[str, float]) -> None:
        run.metrics.update(values)
        run.recorder.log(run.progress.step, values, epoch=run.epoch, time_s=run.progress.elapsed())

    def save(self, run: Run, wait: bool = False) -> None:
        """A checkpoint of this moment; every rank gives its part, the main rank writes, or each its own."""
        if run.parallel.saves_pieces:
            run.checkpoints.begin(run.progress.step)
        state = run.state()
        if run.parallel.is_main or run.parallel.saves_pieces:
            run.checkpoints.save(run.progress.step, state, run.best.step, wait=wait)
        if wait:
            run.parallel.barrier()

    def _end(self, run: Run) -> dict[str, float]:
        run.parallel.bring_in(run)
        if run.stop != "preempted":
            run.parallel.finish(run.main.model)
        run.checkpoints.wait()
        if run.parallel.is_main:
            run.checkpoints.tidy(run.progress.step, run.best.step)
        return run.best.metrics or run.metrics

    # -- what a worker and the actions ask for

    def build(
        self,
        config: DictConfig,
        folder: Path,
        task: Task,
        data: Datasets,
        model: nn.Module,
        parallel: Parallel,
        interrupt: Interrupt,
    ) -> Run:
        self.name = type(model).__name__  # wrapping may change it in place
        run = build_run(config, folder, task, data, model, parallel, self.console.warning, interrupt)
        run.loop = self
        return run

    def header(self, run: Run) -> dict[str, Any]:
        plan, parallel = run.plan, run.parallel
        return {
            "device": str(parallel.device),
            "ranks": parallel.world_size,
            "engine": parallel.engine,
            "precision": str(parallel.precision.dtype).removeprefix("torch."),
            "steps": plan.total_steps,
            "epochs": None if plan.total_steps is None else plan.total_steps / plan.steps_per_epoch,
            "batch_size": run.settings.batch_size,
        }

    def restore_best(self, run: Run, action: str) -> None:
        restore(run, *judged(run.checkpoints, action))

    def evaluate(self, run: Run, seen: Seen | None = None) -> dict[str, float]:
        assert run.loaders.val is not None
        return evaluate(run.task, run.judged_model(), run.loaders.val, run.parallel, seen)

    def best_model(self, run: Run) -> nn.Module:
        return best_or_last(run, self.console)

    def look(self, run: Run, model: nn.Module, limit: int | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        assert run.data.val is not None
        held_out = EvalBatches(run.data.val, batch_size=max(256, run.settings.batch_size), limit=limit)
        columns = predict(run.task, model, held_out, run.parallel)
        first = {name: column[:LIMIT] for name, column in columns.items()}
        return columns, gather(run.task, run.data, model, first)
