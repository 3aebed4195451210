"""`-m action=plan`: what a sweep would do; nothing is started and no folder is made."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from launcher.artifacts.sweep import TRIALS
from launcher.cluster.base import engine_of
from launcher.console.console import Console
from launcher.console.numbers import count, number, span, things
from launcher.process.forkserver import cores
from launcher.search.early.pruning import Pruning, first_rung, is_halving, rungs_of
from launcher.search.early.rules import races_of
from launcher.search.objectives import words_of
from launcher.search.problem import Problem
from launcher.search.space import dimensions as space
from launcher.search.space.dimensions import Dimension
from launcher.search.trial_configs import Configs

from . import cost
from .cost import Kind, in_words

if TYPE_CHECKING:
    from launcher.preflight.step_time import Pace

SHOWN = 20
"""So many points of a grid are listed."""


def of_sweep(problem: Problem, folder: Path, configs: Configs, slots: int, together: bool) -> None:
    """Print the plan of a sweep with so many slots; `together`: its cluster takes all trials at once."""
    config, early, console = problem.config, problem.early, Console()
    unit = None if early.pruning is None else early.pruning.unit
    found = cost.kinds(problem.dimensions, problem.n_trials, problem.is_grid, configs, config, unit)
    plain = all(each.fits == 1 and not each.estimator for each in found)
    timed = plain and not config.cluster and config.parallel.num_processes == 1
    show(console, problem, folder, slots, found, partial(_pace, configs, slots) if timed else None)
    if config.cluster:
        from launcher.launch.node import ENTRY

        engine, runs = engine_of(config), (problem.n_trials or 1) if together else 1
        script = engine.script(folder / "0", ENTRY) if runs == 1 else engine.script(folder, ENTRY, runs, slots)
        console.message(f"\nWhat would be submitted; nothing was.\n\n{script}")


def _pace(configs: Configs, slots: int) -> Pace:
    """How long a step takes here, of the first combination."""
    from launcher.preflight.step_time import measure

    return measure(configs.first(), max(1, cores() // slots))


def show(
    console: Console,
    problem: Problem,
    folder: Path,
    slots: int,
    kinds: Sequence[Kind],
    pace: Callable[[], Pace] | None = None,
) -> None:
    """Print the plan of trials of those kinds; `pace` times some steps, where nothing else tells how long they take."""
    early, dimensions, n_trials, population = problem.early, problem.dimensions, problem.n_trials, problem.population
    pruning, proxy, sampler = early.pruning, early.filter, str(problem.settings.sampler._target_)
    facts: dict[str, Any] = {"study": str(folder), "sampler": sampler.rpartition(".")[2]}
    if len(early.metrics) > 1:
        facts["objectives"] = words_of(early.metrics, early.directions)
    facts["space"] = "; ".join(f"{each.key}: {_span(each)}" for each in dimensions if not each.when)
    if population is not None and n_trials is not None:
        times = n_trials // population.population
        facts["population"] = f"{count(population.population)} runs, {things(times, 'generation')}"
        kinds = [each if each.length is None else replace(each, length=each.length / times) for each in kinds]
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
    spent = None
    units = {each.unit for each in kinds if not each.estimator}
    if n_trials is not None and trained is not None and any(each.estimator or each.length for each in kinds):
        shares = [replace(each, num=each.num * trained / n_trials) for each in kinds]
        facts |= _cost(pruning, trained, shares)
        spent = None if len(units) > 1 else sum(each.spent for each in shares)
        if pruning is not None and "rungs" in facts:
            spent = _raced(pruning, trained, shares)[0]
    left = None if n_trials is None else _left(folder, n_trials, slots)
    if left is not None:
        facts["time"] = left
    elif spent is None or pace is None:
        facts["time"] = "not known before a trial has ended"
    else:
        found = pace()
        seconds = spent * found.step_s * (found.steps_per_epoch if units == {"epochs"} else 1) / slots
        facts["time"] = (
            f"about {span(seconds)} of training, at {1000 * found.step_s:.3g} ms a step of the first combination"
        )
    console.header(facts)
    _list(console, problem)


def _list(console: Console, problem: Problem) -> None:
    """Print what is searched under a condition, and the first points of a grid."""
    dimensions, n_trials = problem.dimensions, problem.n_trials
    conditions = dict.fromkeys(" ".join(map(str, each.when)) for each in dimensions if each.when)
    for condition in conditions:
        own = [each for each in dimensions if " ".join(map(str, each.when)) == condition]
        console.message(f"when {condition}: {'; '.join(f'{each.key}: {_span(each)}' for each in own)}")
    if problem.is_grid:
        points = itertools.product(*(each.values or () for each in dimensions))
        for index, point in enumerate(itertools.islice(points, min(SHOWN, n_trials or SHOWN))):
            words = space.overrides({each.key: value for each, value in zip(dimensions, point, strict=True)})
            console.message(f"trial {index}: {' '.join(words)}")
        if n_trials is not None and n_trials > SHOWN:
            console.message(f"and {count(n_trials - SHOWN)} more")


def _span(each: Dimension) -> str:
    if each.values is not None and len(each.values) <= 8:
        return ", ".join(map(str, each.values))
    low, high = each.corners()[0], each.corners()[-1]
    shown = f"{low} to {high}" if not isinstance(low, float) else f"{number(low)} to {number(high)}"
    by = ", by the logarithm" if getattr(each.distribution, "log", False) else ""
    return f"{shown}{by}" + (f", {len(each.values)} values" if each.values is not None else "")


def _cost(pruning: Pruning | None, trained: int, kinds: Sequence[Kind]) -> dict[str, str]:
    """What is spent at the most, in words; with rungs, how many trials come to each, race by race."""
    if pruning is not None and not any(each.estimator for each in kinds):
        spent, told = _raced(pruning, trained, kinds)
        if told:
            whole = sum(each.spent for each in kinds)
            said = f"about {count(round(spent))} of {count(round(whole))} {pruning.unit} ({spent / whole:.0%})"
            fits = max(each.fits for each in kinds)
            return {
                "rungs": f"{'; '.join(told)} {pruning.unit}",
                "cost": said + (f", in {fits} fits a trial" if fits > 1 else ""),
            }
    ends = {} if pruning is None else {"pruner": pruning.node["_target_"].rpartition(".")[2]}
    drawn = len({(each.length, each.unit, each.fits, each.estimator) for each in kinds}) > 1
    drawn = drawn and any(each.num != round(each.num) for each in kinds)

    def said_of(num: float, what: str) -> str:
        spoken = things(round(num), "fit") if what == "fits" else f"{count(round(num))} {what}"
        return f"{'about ' if drawn else ''}{spoken}{' at the most' if ends and what != 'fits' else ''}"

    return ends | {"cost": in_words(kinds, said_of)}


def _raced(pruning: Pruning, trained: int, kinds: Sequence[Kind]) -> tuple[float, list[str]]:
    """What is spent with rungs, of trials of a middle length, and how many come to each, race by race; nothing without rungs."""
    found = _races(pruning, trained, sum(each.spent for each in kinds) / max(1, trained))
    alike = Counter(", ".join(f"{count(come)} to {end:g}" for come, _, end in race) for race in found)
    told = [f"{times} x ({race})" if times > 1 else race for race, times in alike.items()]
    return sum(come * (end - before) for come, before, end in itertools.chain(*found)), told


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
        with (folder / TRIALS).open(encoding="utf-8") as file:
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
