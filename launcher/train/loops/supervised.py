"""The supervised loop: batches with targets, one optimizer."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, NoReturn

import torch

from launcher.adapters.torch import foreach_norm
from launcher.artifacts.recent_predictions import Seen
from launcher.console.numbers import number
from launcher.core.algorithm import overriding
from launcher.core.run import LEAVES
from launcher.errors import TrainingError
from launcher.train.deadline import Deadline
from launcher.train.evaluate import evaluate
from launcher.train.evidence import LIMIT

if TYPE_CHECKING:
    from launcher.console.console import Console
    from launcher.core.run import Run


class Supervised:
    """Fits `run.main` and keeps `run` such that a checkpoint at any step's end is all there is to know.

    Nothing in a step waits for the device: losses are kept as tensors and read at log lines, evaluations and
    checkpoints. What happens only now and then is looked up once a step by comparing one number.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._warned = False  # of weights that differ between ranks in their last bits

    def fit(self, run: Run) -> dict[str, float]:
        """Train until the plan's end or `run.stop`; returns the metrics of the best evaluation.

        Raises TrainingError for a loss that is not finite, and for a checkpoint that can not be written.
        """
        algorithms = run.algorithms
        run.parallel.begin(run)
        for hook in overriding(algorithms, "fit_start"):
            hook(run)
        epoch_hooks, batch_hooks = overriding(algorithms, "epoch_start"), overriding(algorithms, "batch")
        loss_hooks, gradient_hooks = overriding(algorithms, "loss"), overriding(algorithms, "gradients")
        step_hooks, after_hooks = overriding(algorithms, "step"), overriding(algorithms, "after_step")
        go_on_hooks = overriding(algorithms, "go_on")
        part, parallel, plan, progress, pending = run.main, run.parallel, run.plan, run.progress, run.pending
        optimizer, scheduler, scaler = part.optimizer, part.scheduler, parallel.scaler
        clips = run.settings.clip_norm is not None or run.settings.clip_value is not None
        interrupt, alone = run.interrupt, parallel.world_size == 1
        interrupt.early = None  # from here on it is read after each step
        deadline = None if plan.max_time is None else Deadline(run, plan.max_time)
        end = plan.last_step
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        batches = run.loaders.train.start(progress.step)
        step = progress.step
        event = self._next_event(run, step)
        task = run.task
        counts_tokens = task.tokens(run.loaders.train.samples.fetch(torch.zeros(1, dtype=torch.int64))) is not None
        part.model.train()
        for hook in go_on_hooks:
            hook(run)

        while run.stop is None and (end is None or step < end):
            if epoch_hooks and step % plan.steps_per_epoch == 0:
                for hook in epoch_hooks:
                    hook(run)
            micro = [parallel.place(batch) for batch in next(batches)]
            for hook in batch_hooks:
                micro = [hook(run, batch) for batch in micro]

            loss, weight = parallel.forward_backward(run, micro, loss_hooks)
            if scaler is not None:
                parallel.unscale(run)
            skipped = False
            for hook in gradient_hooks:
                skipped = bool(hook(run)) or skipped
            if skipped:
                parallel.skip(run)
                loss, weight = torch.zeros_like(loss), weight * 0
            else:
                if clips:
                    parallel.clip_asked(run)
                if step_hooks:
                    step_hooks[0](run, micro, functools.partial(parallel.recompute, run, micro, loss_hooks))
                else:
                    parallel.step(run)
            scheduler.step()
            if not skipped:
                for hook in after_hooks:
                    hook(run)
            for parameter in parameters:  # what zero_grad() does, without its bookkeeping
                parameter.grad = None
            pending.append((loss, weight))
            progress.step = step = step + 1

            asked = interrupt.signal is not None or (deadline is not None and deadline.due())
            if counts_tokens:
                progress.tokens += sum(task.tokens(batch) or 0 for batch in micro) * parallel.num_data_ranks
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
        """What is due after a step: log, evaluate, save, leave; in this order, so that a checkpoint holds it all."""
        plan = run.plan
        run.checkpoints.raise_failure()
        self._check_finite(run, step)
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
            self._check_weights(run, step)
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

    def _check_finite(self, run: Run, step: int) -> None:
        """The losses since the last line, all at once; the first one that is not finite is named."""
        if not run.pending:
            return
        sums = run.parallel.sum(torch.stack([total for total, _ in run.pending]).cpu().double())
        bad = (~torch.isfinite(sums)).nonzero()
        if len(bad):
            self._fail(run, f"the loss is {sums[bad[0]].item()}", step - len(run.pending) + int(bad[0]) + 1)

    def _check_weights(self, run: Run, step: int) -> None:
        """A checkpoint is good to go on from: no step before it, this one included, has ruined the weights, and ranks that
        are to hold the same do."""
        held = run.parallel.weights(run.main.model)
        weights = [each for each in held if each.is_floating_point() and each.numel()]
        sizes = [size.to(run.parallel.device) for size in foreach_norm(weights, ord=torch.inf)]
        bad = bool(sizes) and not torch.isfinite(torch.stack(sizes)).all()
        if run.parallel.max(float(bad)):
            self._fail(run, "the weights are not finite", step)
        different = run.parallel.differing(run.main.model)
        if different is None:
            return
        if not different.is_rounding:
            run.checkpoints.wait()
            raise TrainingError(different.told(step))
        if not self._warned and run.parallel.is_main:
            run.recorder.warn(
                f"{different.name} differs in its last bits between ranks: their processors round differently"
            )
        self._warned = True

    def _fail(self, run: Run, what: str, step: int) -> NoReturn:
        """Ends the fit at what `step`, counted from 1, did; every rank comes here."""
        samples = run.loaders.train.indices(step - 1)
        run.checkpoints.wait()
        run.parallel.barrier()  # the main rank's last checkpoint is there before another rank looks for it
        steps = run.checkpoints.steps()
        shown = ", ".join(map(str, samples[:8].tolist())) + (", …" if len(samples) > 8 else "")
        raise TrainingError(
            f"{what} at step {step} (epoch {(step - 1) // run.plan.steps_per_epoch + 1}, "
            f"training samples {shown}). Try a lower optimizer.lr, scheduler.warmup, training.clip_norm=1"
            + (", precision=bf16 or fp32" if run.parallel.precision.mixed else "")
            + ". "
            + (
                f"The last good checkpoint is {run.checkpoints.folder / f'step-{steps[-1]}'}."
                if steps
                else "There is no checkpoint yet."
            )
        )

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
        found = evaluate(run.task, run.judged_model(), run.loaders.val, run.parallel, seen)
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
