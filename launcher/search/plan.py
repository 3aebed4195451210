"""`-m action=plan`: what a sweep would do; nothing is started and no folder is made."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from launcher.console import Console
from launcher.figures import count, number, span, things

from . import space
from .candidates import Filter
from .pruning import Pruning, races
from .space import Dimension

SHOWN = 20
"""So many points of a grid are listed."""


def show(
    console: Console,
    folder: Path,
    sampler: str,
    dimensions: Sequence[Dimension],
    n_trials: int | None,
    slots: int,
    pruning: Pruning | None,
    proxy: Filter | None,
    length: float | None,
) -> None:
    """Print the plan; `length` is a whole trial's in the pruner's unit, or in epochs without a pruner."""
    unit = "epochs" if pruning is None else pruning.unit
    facts: dict[str, Any] = {"study": str(folder), "sampler": sampler.rpartition(".")[2]}
    facts["space"] = "; ".join(f"{each.key}: {_span(each)}" for each in dimensions if not each.when)
    conditions = dict.fromkeys(" ".join(map(str, each.when)) for each in dimensions if each.when)
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
    if pruning is not None and trained is not None and length is not None:
        facts |= _rungs(folder, pruning, trained, length)
    elif trained is not None and length is not None:
        facts["cost"] = f"{count(round(trained * length))} {unit}"
    facts["time"] = _time(folder, n_trials, slots)
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


def _span(each: Dimension) -> str:
    if each.values is not None and len(each.values) <= 8:
        return ", ".join(map(str, each.values))
    low, high = each.corners()[0], each.corners()[-1]
    shown = f"{low} to {high}" if not isinstance(low, float) else f"{number(low)} to {number(high)}"
    by = ", by the logarithm" if getattr(each.distribution, "log", False) else ""
    return f"{shown}{by}" + (f", {len(each.values)} values" if each.values is not None else "")


def _rungs(folder: Path, pruning: Pruning, n_trials: int, length: float) -> dict[str, str]:
    """How many trials come to each rung, of several races each for itself, and what that costs beside whole trials."""
    found = races(pruning.node, folder.name, n_trials, length)
    if not found:
        return {"pruner": pruning.node["_target_"].rpartition(".")[2]}
    spent, told = 0.0, []
    for come, rungs in found:
        before, shown = 0.0, []
        for end in [*rungs, length]:
            shown.append(f"{count(come)} to {end:g}")
            spent += come * (end - before)
            before, come = end, max(1, come // pruning.node["reduction_factor"])
        told.append(", ".join(shown))
    whole = n_trials * length
    return {
        "rungs": f"{'; '.join(told)} {pruning.unit}",
        "cost": f"about {count(round(spent))} of {count(round(whole))} {pruning.unit} ({spent / whole:.0%})",
    }


def _time(folder: Path, n_trials: int | None, slots: int) -> str:
    """From the trials of the same study that have ended; unknown before there is one."""
    try:
        with (folder / "trials.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        rows = []
    took = [
        float(row["wall_s"]) for row in rows if row["wall_s"] and row["state"] in ("completed", "stopped", "pruned")
    ]
    if not took or n_trials is None:
        return "not known before a trial has ended"
    left = max(0, n_trials - len(took))
    return f"about {span(fmean(took) * -(-left // slots))} for the {things(left, 'trial')} left"
