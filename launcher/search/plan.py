"""`-m action=plan`: what a sweep would do; nothing is started and no folder is made."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from launcher.console import Console
from launcher.figures import count, number, span, things
from launcher.place import num_fits
from launcher.signatures import signature

from . import space
from .arguments import words_of
from .early import Early, races_of
from .population import Population
from .pruning import Pruning, first_rung, is_halving, rungs_of
from .space import Dimension

if TYPE_CHECKING:
    from .pace import Pace

SHOWN = 20
"""So many points of a grid are listed."""


def show(
    console: Console,
    folder: Path,
    sampler: str,
    dimensions: Sequence[Dimension],
    n_trials: int | None,
    slots: int,
    early: Early,
    config: DictConfig,
    pace: Callable[[], Pace] | None = None,
    population: Population | None = None,
) -> None:
    """Print the plan of trials of `config`; `pace` times some steps, where nothing else tells how long they take."""
    pruning, proxy, training = early.pruning, early.filter, config.training
    unit = "epochs" if pruning is None else pruning.unit
    length = training.max_epochs if unit == "epochs" else training.max_steps
    if pruning is None and training.max_steps is not None:
        unit, length = "steps", training.max_steps
    facts: dict[str, Any] = {"study": str(folder), "sampler": sampler.rpartition(".")[2]}
    if len(early.metrics) > 1:
        facts["objectives"] = words_of(early.metrics, early.directions)
    facts["space"] = "; ".join(f"{each.key}: {_span(each)}" for each in dimensions if not each.when)
    conditions = dict.fromkeys(" ".join(map(str, each.when)) for each in dimensions if each.when)
    if population is not None and n_trials is not None:
        times = n_trials // population.population
        facts["population"] = f"{count(population.population)} runs, {things(times, 'generation')}"
        length = length / times
    size = space.size(dimensions)
    facts["size"] = "without end" if size is None else things(size, "point")
    facts["trials"] = "as many as the time allows" if n_trials is None else count(n_trials)
    facts["at a time"] = count(slots)
    trained = n_trials
    if proxy is not None:
        facts["candidates"] = f"scored by {proxy.name} of {things(proxy.num_samples, 'sample')}, before any step"
        if n_trials is not None:
            trained = proxy.trained(n_trials)
            facts["candidates"] += f"; the best {count(trained)} of {count(n_trials)} are trained"
            facts["candidates"] += f", the first after {count(min(proxy.first, n_trials))} scores"
    spent, fits = None, num_fits(config)
    if trained is not None and by_estimator(config):
        facts["cost"] = things(trained * fits, "fit") + (f", {fits} a trial" if fits > 1 else "")
    elif trained is not None and length is not None:
        spent, told = _cost(pruning, trained, length * fits, unit)
        facts |= told
        facts["cost"] += f", in {fits} fits a trial" if fits > 1 else ""
    left = None if n_trials is None else _left(folder, n_trials, slots)
    if left is not None:
        facts["time"] = left
    elif spent is None or pace is None:
        facts["time"] = "not known before a trial has ended"
    else:
        found = pace()
        seconds = spent * found.step_s * (found.steps_per_epoch if unit == "epochs" else 1) / slots
        facts["time"] = (
            f"about {span(seconds)} of training, at {1000 * found.step_s:.3g} ms a step of the first combination"
        )
    console.header(facts)
    for condition in conditions:
        own = [each for each in dimensions if " ".join(map(str, each.when)) == condition]
        console.message(f"when {condition}: {'; '.join(f'{each.key}: {_span(each)}' for each in own)}")
    if sampler.endswith("GridSampler"):
        points = itertools.product(*(each.values or () for each in dimensions))
        for index, point in enumerate(itertools.islice(points, min(SHOWN, n_trials or SHOWN))):
            words = space.overrides({each.key: value for each, value in zip(dimensions, point, strict=True)})
            console.message(f"trial {index}: {' '.join(words)}")
        if n_trials is not None and n_trials > SHOWN:
            console.message(f"and {count(n_trials - SHOWN)} more")


def by_estimator(config: DictConfig) -> bool:
    """Whether trials are fits of scikit-learn, which have neither steps nor epochs."""
    return bool(signature(str(config.model._target_)).facts.get("estimator"))


def _span(each: Dimension) -> str:
    if each.values is not None and len(each.values) <= 8:
        return ", ".join(map(str, each.values))
    low, high = each.corners()[0], each.corners()[-1]
    shown = f"{low} to {high}" if not isinstance(low, float) else f"{number(low)} to {number(high)}"
    by = ", by the logarithm" if getattr(each.distribution, "log", False) else ""
    return f"{shown}{by}" + (f", {len(each.values)} values" if each.values is not None else "")


def _cost(pruning: Pruning | None, trained: int, length: float, unit: str) -> tuple[float, dict[str, str]]:
    """What is spent at the most, in that unit, and in words; with rungs, how many trials come to each, race by race."""
    whole = trained * length
    found = [] if pruning is None else _races(pruning, trained, length)
    if pruning is None or not found:
        ends = {} if pruning is None else {"pruner": pruning.node["_target_"].rpartition(".")[2]}
        return whole, ends | {"cost": f"{count(round(whole))} {unit}{' at the most' if ends else ''}"}
    spent = sum(come * (end - before) for come, before, end in itertools.chain(*found))
    alike = Counter(", ".join(f"{count(come)} to {end:g}" for come, _, end in race) for race in found)
    told = [f"{times} x ({race})" if times > 1 else race for race, times in alike.items()]
    return spent, {
        "rungs": f"{'; '.join(told)} {unit}",
        "cost": f"about {count(round(spent))} of {count(round(whole))} {unit} ({spent / whole:.0%})",
    }


def _races(pruning: Pruning, n_trials: int, length: float) -> list[list[tuple[int, float, float]]]:
    """How many trials go from where to where, rung by rung, in each race; nothing where the pruner has no rungs that are known.
    One trial at least comes to the end."""
    node, races = pruning.node, races_of(pruning)
    if races is None and not is_halving(node):
        return []
    own = [(n_trials, rungs_of(first_rung(node), node["reduction_factor"], length))] if races is None else []
    own += [] if races is None else [(len(each.numbers), list(each.rungs)) for each in races.races(n_trials)]
    ends = any(num // node["reduction_factor"] ** len(rungs) for num, rungs in own)
    found = []
    for index, (num, rungs) in enumerate(own):
        legs: list[tuple[int, float, float]] = []
        before = 0.0
        for end in [*rungs, length]:
            if num:
                legs.append((num, before, end))
            before, num = end, max(num // node["reduction_factor"], 0 if ends or index else 1)
        found.append(legs)
    return found


def _left(folder: Path, n_trials: int, slots: int) -> str | None:
    """The time by those trials of the same study that have ended; None before there is one."""
    try:
        with (folder / "trials.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return None
    took = [
        float(row["wall_s"]) for row in rows if row["wall_s"] and row["state"] in ("completed", "stopped", "pruned")
    ]
    if not took:
        return None
    left = max(0, n_trials - len(took))
    return f"about {span(fmean(took) * -(-left // slots))} for the {things(left, 'trial')} left"
