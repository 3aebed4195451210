"""What Mixup and CutMix share: training on two samples at once, with the targets of both."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from launcher.core.algorithm import Algorithm
from launcher.core.run import Run
from launcher.errors import ConfigError
from launcher.functional.mixing import mix, soft_targets
from launcher.process.seeds import derive


class Mixing(Algorithm):
    """Which steps are mixed, in which share, and who is whose partner.

    All of it follows from (seed, step): every micro-batch of every rank draws the same share and box. The partner is
    another sample of the same micro-batch, so how a step is cut decides who meets whom, and nothing else. Of several
    that are chosen together, each step takes one, with equal chances.
    """

    needs_task: ClassVar[frozenset[str]] = frozenset({"classes", "mixing"})

    def __init__(self, alpha: float, probability: float = 1.0) -> None:
        self.alpha, self.probability = alpha, probability
        self.position, self.num = 0, 1

    def fit_start(self, run: Run) -> None:
        others = [each for each in run.algorithms if isinstance(each, Mixing)]
        self.position, self.num = others.index(self), len(others)
        loader = run.loaders.train
        if loader.batch_size // (loader.accumulate * loader.world_size) < 2:
            raise ConfigError(
                f"augment: a micro-batch of training.batch_size={loader.batch_size} over training.accumulate={loader.accumulate} "
                f"x {loader.world_size} process(es) holds one sample, which has no partner"
            )

    def draw(self, run: Run, labels: Tensor) -> tuple[float, Tensor, np.random.Generator] | None:
        """This step's share, from Beta(alpha, alpha), each sample's partner (int64, [batch]), and the generator that goes
        on from there; None where the step is another one's or stays as it is."""
        rng = np.random.default_rng(derive(run.seed, "mixing", run.progress.step))
        if int(rng.integers(self.num)) != self.position or rng.random() >= self.probability:
            return None
        share = float(rng.beta(self.alpha, self.alpha))
        partners = rng.spawn(1)[0].permutation(
            len(labels)
        )  # of its own, so that what follows is the same for any number
        return share, torch.from_numpy(partners).to(labels.device), rng

    def targets(self, run: Run, labels: Tensor, partners: Tensor, share: float) -> Tensor:
        """Class probabilities [batch, classes]: `share` of a sample's own and the rest of its partner's."""
        return mix(soft_targets(labels, run.task.num_classes()), partners, share)
