"""Whether what a config says of rates goes together: the optimizer's groups, the schedule's lengths, budgets of time, the range test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from launcher.config.counts import length
from launcher.config.groups import GROUPS
from launcher.config.schema import duration
from launcher.config.signatures import signature
from launcher.config.value_types import expected, matches
from launcher.errors import did_you_mean

Where = Callable[[str], str]

WHOLE = frozenset({"params", "fused", "foreach", "capturable", "differentiable", "maximize"})
"""Arguments of optimizers that hold for all groups or for none."""


def rates(config: dict[str, Any], where: Where) -> Iterator[str]:
    """One line a problem; for torch models."""
    yield from _groups(config["optimizer"], where)
    yield from _schedule(config, where)
    yield from _limits(config["stopping"], where)
    test = config["lr_find"]
    if test["max_lr"] <= test["min_lr"]:
        yield f"{where('lr_find.max_lr')}: expected more than lr_find.min_lr={test['min_lr']:g}"
    if config["parallel"].get("num_processes", 1) != 1:
        if config["optimizer"].get("lr") == "auto":
            yield f"{where('optimizer.lr')}: the range test runs in one process; find the rate with action=lr_find parallel=single, at the same training.batch_size, and give it here"
        elif config["action"] == "lr_find":
            yield f"{where('action')}: the range test runs in one process: parallel=single. The rate depends on training.batch_size, not on the number of processes"


def _limits(stopping: dict[str, Any], where: Where) -> Iterator[str]:
    """Budgets of time are times."""
    for name, node in stopping.items():
        if signature(node["_target_"]).facts.get("limits_time"):
            try:
                duration(node.get("limit"))
            except ValueError as error:
                yield f"{where(f'stopping.{name}.limit')}: {error}"


def _groups(optimizer: dict[str, Any], where: Where) -> Iterator[str]:
    """Options of some parameters alone. Which parameters there are, only the model can tell."""
    groups = optimizer.get("groups")
    known = signature(optimizer["_target_"])
    names = set(known.parameters) - WHOLE
    if groups is not None and not isinstance(groups, dict):
        yield f"{where('optimizer.groups')}: expected options by role or pattern, such as {{head: {{lr: 0.01}}}}"
        return
    for key, options in (groups or {}).items():
        path = f"optimizer.groups.{key}"
        if not isinstance(options, dict) or not options:
            yield f"{where(path)}: expected options of the optimizer, such as {{lr: 0.01}}"
            continue
        for name, value in options.items():
            bounds = [GROUPS["optimizer"].ranges.get(name, "float(-inf,inf)")]
            numbers = [each for each in (value if isinstance(value, list) else [value]) if type(each) in (int, float)]
            if name not in names and not known.open:
                yield f"{where(f'{path}.{name}')}: a group of {optimizer['_target_']} has no option {name!r}.{did_you_mean(name, names)}"
            elif not matches(value, known.parameters.get(name, [])):
                yield f"{where(f'{path}.{name}')}: {expected(known.parameters[name], value)}"
            elif not all(matches(number, bounds) for number in numbers):
                yield f"{where(f'{path}.{name}')}: {expected(bounds)}"


def _schedule(config: dict[str, Any], where: Where) -> Iterator[str]:
    """The warm-up, and how long the run is in steps."""
    training, scheduler = config["training"], config["scheduler"]
    warmup = scheduler.get("warmup", 0)
    share = isinstance(warmup, float) and 0 < warmup < 1
    shape = scheduler.get("warmup_shape", "linear")
    if (
        isinstance(warmup, bool)
        or not isinstance(warmup, int | float)
        or not 0 <= warmup < inf
        or (not share and warmup != int(warmup))
        or (isinstance(warmup, float) and warmup == 1)  # one step, or all of the run
    ):
        yield f"{where('scheduler.warmup')}: expected a share of the run below 1, or a whole number of steps"
        return
    if training["eval_every"] in (None, 0, "0"):
        for path, node in (
            ("scheduler", scheduler),
            *((f"stopping.{name}", each) for name, each in config["stopping"].items()),
        ):
            if "patience" in node:
                yield f"{where(path)}: looks at each evaluation, of which training.eval_every={training['eval_every']} makes none before the end"
    if shape not in ("linear", "cosine"):
        yield f"{where('scheduler.warmup_shape')}: expected linear or cosine"
    steps = training["max_steps"]
    if training["max_epochs"] is None and steps is None:
        timed = any(signature(node["_target_"]).facts.get("limits_time") for node in config["stopping"].values())
        if training["max_time"] is None and not timed:
            yield "training: nothing says how long: give training.max_epochs, training.max_steps or training.max_time"
            return
        for key, value in scheduler.items():
            found = length(value)
            if (found and found[1] in ("decay_steps", "total_steps")) or (key == "warmup" and share):
                yield f"{where(f'scheduler.{key}')}: depends on the run's length in steps, which training.max_time does not tell: give training.max_epochs or training.max_steps too"
    elif steps is not None and not share and warmup >= steps > 1:
        yield f"{where('scheduler.warmup')}: {int(warmup)} steps of warm-up in a run of training.max_steps={steps}"
