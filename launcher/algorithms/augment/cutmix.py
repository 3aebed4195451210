"""CutMix."""

from __future__ import annotations

from typing import ClassVar

from launcher.core.run import Run
from launcher.data.samples import Batch
from launcher.functional.mixing import box, cut

from .mixing import Mixing


class CutMix(Mixing):
    """Pastes a box of another picture; the targets are shared in proportion to the pixels (Yun et al., 2019).

    The box has the same place in all pictures of a step. Its area is 1 - share, share from Beta(alpha, alpha); what the
    border cuts off and rounding changes, the targets follow. alpha is the paper's.
    """

    needs_task: ClassVar[frozenset[str]] = Mixing.needs_task | {"images"}

    def __init__(self, alpha: float = 1.0, probability: float = 1.0) -> None:
        super().__init__(alpha, probability)

    def batch(self, run: Run, batch: Batch) -> Batch:
        drawn = self.draw(run, batch["labels"])
        if drawn is None:
            return batch
        share, partners, rng = drawn
        height, width = batch["images"].shape[-2:]
        rows, columns = box(share, height, width, rng)
        images, own = cut(batch["images"], partners, rows, columns)
        return batch | {"images": images, "labels": self.targets(run, batch["labels"], partners, own)}
