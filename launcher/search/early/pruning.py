"""Which trials go on: Optuna's pruners, told in epochs or steps, and successive halving by promotion.

    stop     at a rung a trial ends unless it is among the best 1/η that have come to that rung so far, of five the
             best two (ASHA as Optuna has it, but for that: there it is the best one, and more good trials end early)
    promote  at a rung every trial pauses, with a checkpoint, and leaves its slot; one that is among the best 1/η
             of its rung is promoted when a slot is free: it goes on from the checkpoint, bit for bit

Hyperband's trials pause too, and are promoted race by race (`brackets`).

Of several objectives the best are those of the lowest rank of non-domination (`domination`).

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2020), algorithm 2; Li et al., "Hyperband" (2018).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from launcher.config.instantiate import instantiate
from launcher.errors import ConfigError
from launcher.report.trial_reports import Point, reports

from .pareto import best_first

KNOWN = ("parameters", "trainable_parameters", "steps", "wall_s", "peak_memory_bytes")
"""Numbers of a result that a running trial knows too."""
LENGTHS = ("min_resource", "max_resource", "n_warmup_steps", "interval_steps")
_LENGTH = re.compile(r"(\d+)\s*(epochs?|steps?)?")


@dataclass(frozen=True)
class Pruning:
    """A pruner's node with its lengths as whole numbers of one unit, and whether trials pause at its rungs."""

    node: dict[str, Any]
    unit: str  # "epochs" or "steps"
    rungs: tuple[int, ...] = ()
    """Where trials pause, in that unit; none where they are stopped instead, and of Hyperband, whose races have their own."""
    length: float | None = None
    """How long a whole trial is, in that unit."""

    @property
    def races(self) -> bool:
        """Whether trials pause at the rungs of Hyperband's races."""
        return is_hyperband(self.node)

    def pruner(self) -> BasePruner:
        made: BasePruner = instantiate(self.node, group="hydra.sweeper.pruner")
        return made

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def read(node: Any, config: DictConfig) -> Pruning | None:
    """The pruning that the node of `hydra.sweeper.pruner` asks for; None without one. Raises ConfigError."""
    if node is None:
        return None
    own: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else {}
    if "_target_" not in own:
        raise ConfigError("hydra.sweeper.pruner: hydra/sweeper/pruner=halving (or another of its options) chooses one")
    promote = bool(own.pop("promote", False))
    units = set()
    for key in LENGTHS:
        if isinstance(own.get(key), str) and own[key] != "auto":
            found = _LENGTH.fullmatch(own[key].strip())
            if found is None or not int(found[1]):
                raise ConfigError(
                    f"hydra.sweeper.pruner.{key}={own[key]}: expected steps, as 300, or epochs, as 1epoch"
                )
            own[key] = int(found[1])
            units.add("epochs" if (found[2] or "").startswith("epoch") else "steps")
        elif isinstance(own.get(key), int) and own[key]:
            units.add("steps")
    if len(units) > 1:
        raise ConfigError("hydra.sweeper.pruner: its lengths are either all in steps or all in epochs")
    unit = units.pop() if units else "epochs"
    length = config.training.max_epochs if unit == "epochs" else config.training.max_steps
    if "max_resource" in own and own["max_resource"] == "auto" and length is not None:
        own["max_resource"] = int(length)
    if is_hyperband(own):
        _refuse_hyperband(own, unit, length)
    made = Pruning(own, unit, _rungs(own, unit, length) if promote else (), length)
    try:
        made.pruner()
    except Exception as error:
        raise ConfigError(f"hydra.sweeper.pruner: {str(error.__cause__ or error).partition(chr(10))[0]}") from error
    return made


def _rungs(node: dict[str, Any], unit: str, length: float | None) -> tuple[int, ...]:
    if not is_halving(node):
        raise ConfigError("hydra.sweeper.pruner.promote=true goes with halving, and with a min_resource of its own")
    if length is None:
        raise ConfigError(
            f"hydra.sweeper.pruner.promote=true: how long is a whole trial? training.max_{unit} says so in the pruner's unit"
        )
    return tuple(rungs_of(node["min_resource"], node["reduction_factor"], length))


def _refuse_hyperband(node: dict[str, Any], unit: str, length: float | None) -> None:
    """Raises ConfigError where the races of Hyperband can not be laid out."""
    if not isinstance(node.get("min_resource"), int):
        raise ConfigError("hydra.sweeper.pruner: Hyperband goes with a min_resource of its own, as 1epoch")
    if length is None or not isinstance(node.get("max_resource"), int):
        raise ConfigError(
            f"hydra.sweeper.pruner: how long is a whole trial of Hyperband? training.max_{unit} says so in the pruner's unit"
        )
    if node["reduction_factor"] < 2:
        raise ConfigError(f"hydra.sweeper.pruner.reduction_factor={node['reduction_factor']}: expected 2 or more")


def several(found: Pruning, metrics: Sequence[str]) -> None:
    """See that trials of several objectives can be judged while they run. Raises ConfigError."""
    node = found.node
    if not is_halving(node):
        raise ConfigError(
            "hydra.sweeper.pruner: several objectives are judged by their rank at rungs, which hydra/sweeper/pruner=halving "
            "has, with a min_resource of its own"
        )
    for metric in metrics:
        if "/" not in metric and metric not in KNOWN:
            raise ConfigError(
                f"hydra.sweeper.metrics: a running trial does not know {metric}, so that it can not be pruned by it; "
                f"it knows its own metrics and {', '.join(KNOWN)}"
            )


def is_halving(node: dict[str, Any]) -> bool:
    """Whether a pruner's node is one of successive halving with a first rung that is known."""
    return str(node["_target_"]).endswith("SuccessiveHalvingPruner") and isinstance(node.get("min_resource"), int)


def first_rung(node: dict[str, Any]) -> int:
    """Where the first trials are judged."""
    first: int = node["min_resource"] * node["reduction_factor"] ** node.get("min_early_stopping_rate", 0)
    return first


def rungs_of(min_resource: int, reduction_factor: int, length: float) -> list[int]:
    """min_resource · η^k below the whole length."""
    found = [min_resource]
    while found[-1] * reduction_factor < length:
        found.append(found[-1] * reduction_factor)
    return [rung for rung in found if rung < length]


def is_hyperband(node: dict[str, Any]) -> bool:
    """Whether a pruner's node is Hyperband's."""
    return str(node["_target_"]).endswith("HyperbandPruner")


def at_rung(trial: FrozenTrial, rung: int) -> Point | None:
    """What a trial reported when it came to a rung; None where it has not come so far."""
    known = reports(trial)
    steps = [step for step in known if step >= rung]
    return known[min(steps)] if steps else None


def judged(trials: Sequence[FrozenTrial], rung: int, maximize: Sequence[bool]) -> list[FrozenTrial]:
    """The trials that have come to a rung, the best first; those whose value is not a number are not among them."""
    come = [(at_rung(trial, rung), trial) for trial in trials]
    valid = [(point, trial) for point, trial in come if point is not None and all(value == value for value in point)]
    return [valid[index][1] for index in best_first([point for point, _ in valid], maximize)]


def promotable(
    trials: Sequence[FrozenTrial],
    paused: set[int],
    rungs: Sequence[int],
    reduction_factor: int,
    maximize: Sequence[bool],
    least: bool = False,
) -> int | None:
    """The paused trial to go on with: of the highest rung that has one among its best 1/η, the best. With `least` there is to
    be one: of the highest rung that has any, the best."""
    for index in reversed(range(len(rungs))):
        come = judged(trials, rungs[index], maximize)
        for trial in come if least else come[: len(come) // reduction_factor]:
            beyond = index + 1 < len(rungs) and at_rung(trial, rungs[index + 1]) is not None
            if trial.number in paused and not beyond:
                return trial.number
    return None


def falls_behind(
    trials: Sequence[FrozenTrial], number: int, rungs: Sequence[int], node: dict[str, Any], maximize: Sequence[bool]
) -> bool:
    """Whether a trial that has come to these rungs just now is to stop at one of them: it goes on as one of the best 1/η
    so far, rounded up, or with a value no worse than theirs.
    """
    for rung in rungs:
        come = judged(trials, rung, maximize)
        numbers, points = [trial.number for trial in come], [at_rung(trial, rung) for trial in come]
        if len(come) <= node.get("bootstrap_count", 0) or number not in numbers:
            return True
        if points.index(points[numbers.index(number)]) >= math.ceil(len(come) / node["reduction_factor"]):
            return True
    return False
