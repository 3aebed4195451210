"""The weights in a checkpoint, without the rest of it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from .checkpoints import MODEL, WEIGHTS
from .manifest import verified
from .pieces import Pieces, whole
from .tensors import read_pieces, read_tensors, unpack


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
