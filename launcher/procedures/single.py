"""One fit, or several that differ in their seed alone."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from launcher.core.procedure import Job, Procedure
from launcher.process.seeds import derive


class Single(Procedure):
    """With `num_seeds=1` the run is the fit. With n, fit i has the seed derived from (seed, "repeat", i); what is
    held out stays what the run's own seed decides, so that the spread is the training's and not the split's."""

    def plan(self, config: DictConfig) -> list[Job]:
        if config.num_seeds == 1:
            return [Job("", config)]
        fits = []
        for index in range(config.num_seeds):
            own = OmegaConf.merge(config, {"seed": derive(config.seed, "repeat", index), "num_seeds": 1})
            assert isinstance(own, DictConfig)
            fits.append(Job(f"seed-{index}", own))
        return fits
