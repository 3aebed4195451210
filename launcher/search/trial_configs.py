"""The configs of a sweep's trials: each is composed and checked as a run's is, with its own parameters, in the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, open_dict

from launcher.config import compose
from launcher.config.checks.nodes import check
from launcher.config.hydra_keys import Job

from .space import dimensions as space
from .space.dimensions import Dimension


class Configs:
    """`fixed` are the overrides that all trials share, `own` the sweep's config, and `same` refuses a config that is for something
    else than the sweep."""

    def __init__(
        self,
        fixed: Sequence[str],
        dimensions: Sequence[Dimension],
        folder: Path,
        own: DictConfig,
        same: Callable[[DictConfig, str], None],
    ) -> None:
        self._fixed, self._dimensions, self._folder, self._own, self._same = fixed, dimensions, folder, own, same
        self._known: compose.Known = {}

    def __call__(self, params: dict[str, Any], number: int = 0) -> DictConfig:
        """The finished config of the trial of that number. Raises ConfigError."""
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        words = space.overrides(params)
        job = Job(number, self._folder, self._own.hydra)
        composed = compose.compose(hydra, [*self._fixed, *words], trial=True, known=self._known, job=job)
        self._same(composed.config, " ".join(words))
        check(composed.config, composed.origins)
        with open_dict(composed.config):
            composed.config.worker = False
        return composed.config

    def first(self) -> DictConfig:
        """The config of the first combination."""
        return self(next(space.corners(self._dimensions)))

    def corners(self) -> None:
        """Compose so many trials that each choice and each end of an interval was seen once: what is wrong is wrong now."""
        for point in space.corners(self._dimensions):
            self(point)
