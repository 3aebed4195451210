"""The loop of scikit-learn estimators: one call fits all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.artifacts.checkpoint.checkpoints import Checkpoints
from launcher.artifacts.folder import MODEL
from launcher.config.instantiate import plain_dict
from launcher.config.schema import Training
from launcher.core.loop import Loop
from launcher.core.run import Best, Loaders, Plan, Run
from launcher.data.splits import with_names
from launcher.errors import ConfigError, TrainingError
from launcher.trackers.recorder import Recorder
from launcher.train.build import build_trackers
from launcher.train.evidence import LIMIT, predicted
from launcher.train.failures import out_of_memory

if TYPE_CHECKING:
    import numpy as np
    from omegaconf import DictConfig

    from launcher.core.parallel import Parallel
    from launcher.core.task import Task
    from launcher.data.samples import Datasets
    from launcher.process.signals import Interrupt

ONCE = Plan(
    total_steps=1,
    steps_per_epoch=1,
    log_every=None,
    eval_every=None,
    checkpoint_every=None,
    checkpoint_seconds=0.0,
    max_time=None,
    counted_by="fitted",
)
"""The whole fit is one step, of all training samples."""


class Estimator(Loop):
    """Fits on the training rows and scores the held-out ones (the training rows alone where none are held out).

    Metrics have the names that a torch run gives them: `val/accuracy`, and `train/accuracy` beside it. There are no
    checkpoints: after a signal the fit is given up, because what an estimator has learned halfway can not be kept.
    """

    def build(
        self,
        config: DictConfig,
        folder: Path,
        task: Task,
        data: Datasets,
        model: Any,
        parallel: Parallel,
        interrupt: Interrupt,
    ) -> Run:
        self.estimator = model
        # It is a pipeline around what the config names, which is what a person knows it by.
        self.name = str(config.model._target_).rpartition(".")[2]
        return Run(
            task=task,
            data=data,
            parts={},
            parallel=parallel,
            loaders=Loaders(None),  # type: ignore[arg-type]  # nothing is cut into batches
            settings=replace(Training(**plain_dict(config.training)), batch_size=len(data.train)),
            plan=replace(ONCE),
            objective=(str(config.objective.metric), config.objective.direction),
            seed=config.seed,
            folder=folder,
            recorder=Recorder(folder, build_trackers(config), True, self.console.warning),
            checkpoints=Checkpoints(folder / "checkpoints", 1),
            loop=self,
            interrupt=interrupt,
        )

    def header(self, run: Run) -> dict[str, Any]:
        return {"device": "cpu", "ranks": 1}

    def sizes(self, run: Run) -> dict[str, int | None]:
        return {"parameters": None, "trainable_parameters": None}

    def fit(self, run: Run) -> dict[str, float]:
        """Raises TrainingError for an option or data that the estimator cannot work with, and for too little memory."""
        run.interrupt.early = None
        try:
            metrics = _unless_interrupted(lambda: self._fit_and_score(run), run.interrupt)
        except ValueError as error:  # scikit-learn's own checks
            line = with_names(str(error), run.data.facts.get("classes") or ()).partition("\n")[0]
            raise TrainingError(f"{self.name} can not be fitted to this data: {line}") from error
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise TrainingError(f"out of memory before the first step: {error}. Try a smaller model") from error
        if metrics is None:
            run.stop = "preempted"
            return {}
        name = run.objective[0]
        if name not in metrics:
            raise ConfigError(f"objective.metric={name}: this estimator reports {', '.join(sorted(metrics))}")
        run.progress.step = 1
        run.metrics, run.best = metrics, Best(1, metrics[name], metrics)
        run.recorder.log(1, metrics, epoch=1.0, time_s=run.progress.elapsed())
        held_out = {key: value for key, value in metrics.items() if key.startswith("val/")}
        self.console.evaluation(1, 1.0, held_out, True)
        return metrics

    def _fit_and_score(self, run: Run) -> dict[str, float]:
        task, data = run.task, run.data
        rows: Any = data.train  # an estimator's samples are rows: X and y
        self.estimator.fit(rows.X, rows.y)
        metrics = {f"train/{name}": value for name, value in task.score(self.estimator, data.train).items()}
        if data.val is not None:
            metrics.update({f"val/{name}": value for name, value in self.evaluate(run).items()})
        return metrics

    def restore_best(self, run: Run, action: str) -> None:
        from launcher.artifacts.export import load_estimator

        self.estimator = load_estimator(run.folder / MODEL)
        run.progress.step = 1

    def evaluate(self, run: Run) -> dict[str, float]:
        return run.task.score(self.estimator, run.data.val)

    def best_model(self, run: Run) -> Any:
        return self.estimator

    def look(self, run: Run, model: Any, limit: int | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        columns = run.task.predict(model, run.data.val)
        first = {name: column[:LIMIT] for name, column in columns.items()}
        return columns, predicted(run.task, run.data, first, shows=False)


def _unless_interrupted(work: Callable[[], dict[str, float]], interrupt: Interrupt) -> dict[str, float] | None:
    """What `work` returns or raises; None after a signal, which does not wait for it.

    In a thread, because a call into compiled code returns to the interpreter, which notes signals, only at its end.
    """
    metrics: Future[dict[str, float]] = Future()

    def run() -> None:
        try:
            metrics.set_result(work())
        except BaseException as error:
            metrics.set_exception(error)

    threading.Thread(target=run, name="fit", daemon=True).start()
    while interrupt.signal is None:
        try:
            return metrics.result(timeout=0.1)
        except TimeoutError:
            if metrics.done():
                raise
    return None
