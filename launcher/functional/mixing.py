"""Two samples made into one: Mixup and CutMix."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def mix(values: Tensor, partners: Tensor, share: float | Tensor) -> Tensor:
    """share * values + (1 - share) * values[partners] (Zhang et al., "mixup", 2018, equation 1).

    The first dimension of `values` runs over the samples; `partners` (int64, [batch]) is each one's other.
    """
    return torch.lerp(values[partners], values, share)


def soft_targets(labels: Tensor, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Class numbers [batch] as probabilities [batch, num_classes]; what are probabilities already stays."""
    return labels if labels.is_floating_point() else F.one_hot(labels, num_classes).to(dtype)


def box(share: float, height: int, width: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """The rows and columns of CutMix (Yun et al., 2019, equation 2): a box of sides sqrt(1 - share) of the picture's,
    about a uniform centre, cut off at the border."""
    side = math.sqrt(1 - share)
    slices = []
    for length in (height, width):
        half, centre = int(length * side) // 2, int(rng.integers(length))
        slices.append(slice(max(0, centre - half), min(length, centre + half)))
    return slices[0], slices[1]


def cut(images: Tensor, partners: Tensor, rows: slice, columns: slice) -> tuple[Tensor, float]:
    """The pictures [batch, channels, height, width] with the box of each one's partner in them, and the share of the
    pixels that are still their own."""
    pasted = images.clone()
    pasted[..., rows, columns] = images[partners][..., rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return pasted, 1 - area / (images.shape[-2] * images.shape[-1])
