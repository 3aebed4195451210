"""One fit, or several that differ in their seed alone."""

from __future__ import annotations

from functools import partial

from omegaconf import DictConfig, OmegaConf

from launcher.core.procedure import Job, Procedure, Results
from launcher.process.seeds import derive


class Single(Procedure):
    """With `num_seeds=1` the run is the fit. With n, fit i has the seed derived from (seed, "repeat", i); what is
    held out stays what the run's own seed decides, so that the spread is the training's and not the split's."""

    def next(self, config: DictConfig, done: Results) -> list[Job]:
        if config.num_seeds == 1:
            return [] if done else [Job("", config)]
        return [
            Job(name, partial(_seeded, config, derive(config.seed, "repeat", index)))
            for index in range(config.num_seeds)
            if (name := f"seed-{index}") not in done
        ]


def _seeded(config: DictConfig, seed: int) -> DictConfig:
    own = OmegaConf.merge(config, {"seed": seed, "num_seeds": 1})
    assert isinstance(own, DictConfig)
    return own
