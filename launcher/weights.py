"""The weights in a checkpoint, without the rest of it, and the model that has the best of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .algorithm import overriding
from .checkpoint import MODEL, WEIGHTS
from .manifest import verified
from .packing import read_pieces, read_tensors, unpack
from .shards import Pieces, whole

if TYPE_CHECKING:
    from .run import Run


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The main model's state dict in a checkpoint's folder. Raises TornCheckpoint, and ConfigError for another format."""
    weights: dict[str, Tensor] = whole(_weights(folder, mapped=False))
    return weights


def fill_weights(model: nn.Module, folder: Path) -> None:
    """Copy the main model's weights in a checkpoint's folder into `model`, a tensor at a time: beside the model there is
    never more than the largest one in memory. Raises as `load_weights`."""
    saved = _weights(folder, mapped=True)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            tensor.copy_(whole(saved[name]))


def _weights(folder: Path, mapped: bool) -> dict[str, Tensor | Pieces]:
    manifest = verified(folder)
    tensors: dict[str, Tensor | Pieces] = {
        WEIGHTS + name: each for name, each in read_tensors(folder / MODEL, mapped).items()
    }
    pieces = manifest.get("pieces", {})
    tensors.update(read_pieces(folder, {name: each for name, each in pieces.items() if name.startswith(WEIGHTS)}))
    found: dict[str, Tensor | Pieces] = unpack(manifest["tree"]["parts"]["main"]["model"], tensors)
    return found


def judged_best(run: Run) -> nn.Module:
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
