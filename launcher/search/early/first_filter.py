"""A first filter: trials are candidates that are scored with fresh weights, and the best of them are trained.

    score   a trial's process builds the model, scores it (`proxies`), tells the study, and leaves, paused at step 0
    pass    the share `keep` of all that were scored is trained, when a slot is free: of so many candidates that are next to
            each other in size the one with the best score
    filter  when all have been scored and nothing is trained any more, those that are left are `pruned` at step 0

Scores grow with the size of a network and say the less the more sizes differ; a front is made of all sizes. So the score
decides only among candidates of about one size, which is the first objective that is known before training (parameters, operations,
latency). Where none is, the best scores are trained.

Mellor et al., 2021, "Neural Architecture Search without Training"; Abdelfattah et al., 2021, "Zero-Cost Proxies for
Lightweight NAS", who use a proxy before a search as a warm-up and within it as a filter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, TrialState

from launcher.config.instantiate import unwanted
from launcher.config.signatures import signature
from launcher.console.numbers import things
from launcher.errors import ConfigError
from launcher.report.optuna_plots import SCORE as SCORE
from launcher.report.trial_reports import PASSED, Point, reports
from launcher.search.space.dimensions import Dimension

PROXY = "proxy"
FILTERED = "filtered"
"""The reason to end of a candidate that is not trained."""
MEASURED = ("inference/mflop", "inference/latency_ms")
KNOWN = ("parameters", "trainable_parameters", *MEASURED)
"""Objectives that are known before training; the monitor `inference` measures those that the model alone does not tell."""


@dataclass(frozen=True)
class Filter:
    """Which candidates are trained. `known` are the objectives that do not wait for training, the first of them the size."""

    target: str
    keep: float
    first: int
    num_samples: int
    known: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.target.rpartition(".")[2]

    def point(self, trial: FrozenTrial) -> Point | None:
        """What a candidate is judged by; None where it has not been scored."""
        found = trial.user_attrs.get(SCORE)
        return None if found is None else tuple(float(found[name]) for name in (PROXY, *self.known))

    def task(self, trial: FrozenTrial) -> dict[str, Any] | None:
        """What a trial's process has to know to score it; None where it is to be trained."""
        if PASSED in trial.user_attrs:
            return None
        return {"target": self.target, "num_samples": self.num_samples, "known": self.known}

    def trained(self, scored: int) -> int:
        """How many of so many candidates are trained: of any at least one."""
        return max(int(self.keep * scored + 1e-9), min(scored, 1))

    def next(self, trials: Sequence[FrozenTrial], paused: set[int], total: int | None) -> int | None:
        """The paused candidate to be trained next; None where there is none (yet)."""
        chosen = [trial.number for trial in trials if PASSED in trial.user_attrs and not reports(trial)]
        if left := paused.intersection(chosen):  # whoever chose it has died before it began
            return min(left)
        points = {trial.number: self.point(trial) for trial in trials}
        scored = {number: each for number, each in points.items() if each is not None and not any(v != v for v in each)}
        lost = sum(points[trial.number] is None and trial.state == TrialState.FAIL for trial in trials)
        if len(scored) + lost < min(self.first, total or self.first):
            return None
        passed = {trial.number for trial in trials if PASSED in trial.user_attrs}
        quota = self.trained(len(scored))
        if len(passed) >= quota:
            return None
        waiting = [each & paused for each in sorted(self._alike(scored, quota), key=lambda each: len(each & passed))]
        found = next((each for each in waiting if each), set())
        return max(found, key=lambda number: scored[number][0], default=None)

    def _alike(self, scored: dict[int, Point], num: int) -> list[set[int]]:
        """The candidates in so many groups of neighbours by size; where no size counts, in one."""
        if not self.known:
            return [set(scored)]
        ordered = sorted(scored, key=lambda number: scored[number][1])
        return [set(ordered[at * len(ordered) // num : (at + 1) * len(ordered) // num]) for at in range(num)]


def read(node: Any, config: DictConfig, metrics: Sequence[str], dimensions: Sequence[Dimension]) -> Filter | None:
    """The filter that the node of `hydra.sweeper.proxy` asks for; None without one. Raises ConfigError."""
    for metric in metrics:
        if metric in MEASURED and not any(
            str(each._target_).endswith(".Inference") for each in config.monitor.values()
        ):
            raise ConfigError(f"hydra.sweeper.metrics: {metric} is measured by a monitor: monitor=[inference]")
    if node is None:
        return None
    own: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if not isinstance(own, dict) or "_target_" not in own:
        raise ConfigError(
            f"hydra.sweeper.proxy={own}: hydra/sweeper/proxy=naswot (or another of its options) chooses one"
        )
    for key, most, words in (
        ("keep", 1.0, "a share above 0, up to 1"),
        ("first", math.inf, "at least 1"),
        ("num_samples", math.inf, "at least 1"),
    ):
        value = own.get(key)
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else value
        if not 0 < number <= most or (key != "keep" and number < 1):
            raise ConfigError(f"hydra.sweeper.proxy.{key}={value}: expected {words}")
    others = set(own) - {"_target_", "keep", "first", "num_samples"}
    if others:
        raise ConfigError(
            f"hydra.sweeper.proxy has no key {', '.join(sorted(others))}; it has keep, first, num_samples"
        )
    chosen = all(each.key != "model" for each in dimensions)
    if chosen and signature(str(config.model._target_)).facts.get("estimator"):
        raise ConfigError(
            "hydra.sweeper.proxy scores networks; scikit-learn's estimators are fitted at once (search=automl)"
        )
    if config.num_seeds > 1 or "fold" in config.procedure:
        raise ConfigError("hydra.sweeper.proxy: a trial that is made of several fits is not one network to score")
    known = tuple(metric for metric in metrics if metric in KNOWN)
    found = Filter(
        target=own["_target_"],
        keep=float(own["keep"]),
        first=int(own["first"]),
        num_samples=int(own["num_samples"]),
        known=known,
    )
    said = unwanted(found.target, "hydra.sweeper.proxy")
    if said is not None:
        raise ConfigError(f"hydra.sweeper.proxy._target_={found.target}: {said}")
    return found


def scored(result: dict[str, Any]) -> str:
    """What was found out of a candidate."""
    told = ", ".join(f"{name.rpartition('/')[2]} {value:.4g}" for name, value in result["metrics"].items())
    return f"candidate, {told}, {things(result['parameters'], 'parameter')}"
