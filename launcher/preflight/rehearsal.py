"""Steps of a run before it begins: for whoever wants to know what they take, or where they lead. Nothing of them is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.core.algorithm import Monitor, overriding
from launcher.errors import ConfigError
from launcher.train.loops.named import loop_class
from launcher.train.step import TrainingStep

if TYPE_CHECKING:
    from launcher.core.run import Run
    from launcher.core.task import Task


def refuse_unless_rehearsable(task: Task, why: str) -> None:
    """Raises ConfigError for a task whose loop takes no steps that could be taken before the run; `why` is what for."""
    loop = loop_class(task)
    if "rehearse" not in loop.can:
        name = getattr(task.model_factory.target, "__name__", "the model")  # type: ignore[attr-defined]  # of every model callable
        how = "has steps of its own" if "steps" in loop.can else "is fitted in one call"
        raise ConfigError(f"{name} {how}: {why}")


def rehearsal(run: Run) -> TrainingStep:
    """The step of a run that is built to be looked at and not to be kept, which begins as a fit does.

    Monitors, which only watch, have no part in it: what they watch for is the run itself.
    """
    changing = [each for each in run.algorithms if not isinstance(each, Monitor)]
    run.parallel.begin(run)
    for hook in overriding(changing, "fit_start"):
        hook(run)
    run.main.model.train()
    return TrainingStep(run, changing)
