"""A procedure of two rounds, of which the second starts from what the best fit of the first has left; LAUNCHER_TRUST has
to allow `tests.support.rounds.*`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file
from torch import nn

from launcher.core.procedure import Input, Job, Procedure, Results
from launcher.process.seeds import derive

from .signalled import Slow

TRUST = {"LAUNCHER_TRUST": "tests.support.rounds.*"}


class Started(Slow):
    """Digits, from the weights in the file `start` where there is one; a training step takes `seconds`."""

    def __init__(self, *args: Any, start: str | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.start = start

    def model(self) -> nn.Module:
        model = super().model()
        if self.start is not None:
            model.load_state_dict(load_file(self.start))
        return model


class Rounds(Procedure):
    """`num` fits in each of two rounds. Where `mark` is a path with nothing there, the driver kills itself between them."""

    def __init__(self, num: int = 2, mark: str | None = None) -> None:
        self.num, self.mark = num, mark

    def next(self, config: DictConfig, done: Results) -> list[Job]:
        first = [f"first-{index}" for index in range(self.num)]
        if left := [Job(name, _fit(config, name)) for name in first if name not in done]:
            return left
        if self.mark is not None and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        start = {"task.start": Input(_best(first, done), "model/model.safetensors")}
        second = [f"second-{index}" for index in range(self.num)]
        return [Job(name, _fit(config, name), after=tuple(first), inputs=start) for name in second if name not in done]

    def num_jobs(self, config: DictConfig) -> int:
        return 2 * self.num

    def combine(self, fits: list[Job], results: list[dict[str, Any]]) -> dict[str, Any]:
        """The mean over the second round."""
        second = [index for index, fit in enumerate(fits) if fit.name.startswith("second-")]
        return super().combine([fits[index] for index in second], [results[index] for index in second])


def _best(names: list[str], done: Results) -> str:
    return max(names, key=lambda name: float(done[name]["objective"]["value"]))


def _fit(config: DictConfig, name: str) -> DictConfig:
    own = OmegaConf.merge(config, {"seed": derive(config.seed, name)})
    assert isinstance(own, DictConfig)
    OmegaConf.update(own, "procedure", {"_target_": "launcher.procedures.single.Single"}, merge=False)
    return own
