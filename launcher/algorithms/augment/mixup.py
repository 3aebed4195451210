"""Mixup."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from launcher.core.run import Run
from launcher.data.samples import Batch
from launcher.functional.mixing import mix

from .mixing import Mixing


class Mixup(Mixing):
    """Trains on share x + (1 - share) x', with the targets alike (Zhang et al., 2018); their alpha for ImageNet is 0.1 to 0.4.

    Pictures and rows of numbers are mixed themselves. Of texts, the embeddings of the tokens are (Guo et al., 2019): the
    mixture is as long as the longer of the two, and where the shorter has ended its padding takes part.
    """

    def __init__(self, alpha: float = 0.2, probability: float = 1.0) -> None:
        super().__init__(alpha, probability)
        self.column = ""
        self.inside: Inside | None = None

    def model(self, run: Run, model: nn.Module) -> nn.Module:
        place = run.task.mixed(model)
        if isinstance(place, str):
            self.column = place
        else:
            self.inside = Inside()
            place.register_forward_hook(self.inside)
        return model

    def batch(self, run: Run, batch: Batch) -> Batch:
        drawn = self.draw(run, batch["labels"])
        if self.inside is not None:
            self.inside.partners = None
        if drawn is None:
            return batch
        share, partners, _ = drawn
        changed = {"labels": self.targets(run, batch["labels"], partners, share)}
        if self.inside is None:
            changed[self.column] = mix(batch[self.column], partners, share)
        else:
            mask = batch["attention_mask"]
            changed["attention_mask"] = torch.maximum(mask, mask[partners])
            self.inside.partners, self.inside.share = partners, torch.tensor(share, device=mask.device)
        return batch | changed


class Inside:
    """A forward hook that mixes what a module returns in training: vectors [batch, tokens, width].

    Share and partners are those of the step, alike for each of its micro-batches, however often they are computed.
    """

    def __init__(self) -> None:
        self.share = torch.ones(())  # a tensor: a compiled model takes it as an input, and is not compiled anew for it
        self.partners: Tensor | None = None

    def __call__(self, module: nn.Module, given: Any, output: Tensor) -> Tensor:
        if self.partners is None or not module.training:
            return output
        return mix(output, self.partners, self.share.to(output.dtype))
