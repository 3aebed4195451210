"""The model that the best evaluation judged: what a run exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from launcher.artifacts.checkpoint.manifest import TornCheckpoint
from launcher.artifacts.checkpoint.weights import fill_weights, load_weights
from launcher.core.algorithm import overriding
from launcher.core.run import Best, Run

if TYPE_CHECKING:
    from launcher.console.console import Console


def best_or_last(run: Run, console: Console) -> nn.Module:
    """The best model, or with a warning the last one, where the disk has lost the best one's checkpoint."""
    try:
        return _judged_best(run)
    except TornCheckpoint as torn:
        console.warning(f"checkpoint step-{run.best.step}, the best, is torn ({torn}): model/ holds the last weights")
        run.best = Best()
        return _judged_best(run)


def _judged_best(run: Run) -> nn.Module:
    """The model with the weights that the best evaluation judged; the last ones where there was none."""
    parallel, main, model = run.parallel, run.main, run.parallel.plain(run.main.model)
    best = run.progress.step if run.best.step is None and not parallel.whole_weights else run.best.step
    derived = overriding(run.algorithms, "eval_model") or hasattr(main.optimizer, "averages")
    if best is not None and derived:  # what is judged follows from the state of algorithms and optimizer too
        state = run.checkpoints.load(best)
        parallel.load_model(main.model, state["parts"]["main"]["model"])
        parallel.load_optimizer(main.optimizer, state["parts"]["main"]["optimizer"])
        for algorithm, saved in zip(run.algorithms, state["algorithms"], strict=True):
            algorithm.load_state_dict(saved)
    elif best is not None and parallel.whole_weights:
        model.load_state_dict(load_weights(run.checkpoints.folder / f"step-{best}"))
    elif best is not None:
        fill_weights(model, run.checkpoints.folder / f"step-{best}")
    return run.judged_model() if parallel.whole_weights else model
