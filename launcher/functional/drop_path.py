"""Leaving out a residual branch."""

from __future__ import annotations

from torch import Tensor


def drop_path(branch: Tensor, rate: float) -> Tensor:
    """Each sample's branch times b / (1 - rate), where b is 0 with probability `rate`, else 1.

    Huang et al., "Deep Networks with Stochastic Depth" (2016), per sample as in Larsson et al. (2017); the mean is that
    of the branch, so evaluation needs no other scale. The first dimension of `branch` runs over the samples.
    """
    if rate == 0:
        return branch
    kept = branch.new_empty((len(branch), *[1] * (branch.ndim - 1))).bernoulli_(1 - rate)
    return branch * (kept / (1 - rate))
