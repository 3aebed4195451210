"""Whose code a config may name: of each group the classes that it takes, and nothing else.

A `_target_` runs code, so a config can only name what its group's entry in GROUPS lets in: a class below one of its
bases, or a factory that is marked as one. An installed package adds its own by an entry point, a person by the
environment variable LAUNCHER_TRUST; nothing that a config says widens the list, and what they add has to be of the
group's base class too. A name is judged before anything is imported, the object behind it once it is there. The
patterns are Hydra's: an exact name, or a package with `.*` behind it.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from launcher.errors import ConfigError

# Whole packages of scikit-learn are not safe: sklearn.utils can start a process. These hold estimators and splitters.
_SKLEARN = tuple(
    f"sklearn.{package}.*"
    for package in (
        "calibration", "cluster", "compose", "cross_decomposition", "decomposition", "discriminant_analysis", "dummy",
        "ensemble", "feature_extraction", "feature_selection", "gaussian_process", "impute", "isotonic",
        "kernel_approximation", "kernel_ridge", "linear_model", "mixture", "model_selection", "multiclass", "naive_bayes",
        "neighbors", "neural_network", "pipeline", "preprocessing", "random_projection", "semi_supervised", "svm", "tree",
    )
)  # fmt: skip
_SCHEDULES = tuple(
    f"transformers.optimization.get_{name}"
    for name in (
        "constant_schedule", "constant_schedule_with_warmup", "cosine_schedule_with_warmup", "inverse_sqrt_schedule",
        "cosine_with_hard_restarts_schedule_with_warmup", "cosine_with_min_lr_schedule_with_warmup",
        "linear_schedule_with_warmup", "polynomial_decay_schedule_with_warmup", "wsd_schedule",
    )
)  # fmt: skip
"""Functions of a library that can not be marked, and that do no more than make a schedule; of the other one, a sampler."""

_SAMPLERS = tuple(f"hydra_plugins.hydra_optuna_sweeper._impl.create_{name}_sampler" for name in ("nsgaii", "nsgaiii"))


@dataclass(frozen=True)
class Group:
    """What a node of a group may be."""

    names: tuple[str, ...]
    """Patterns of what the launcher and the libraries have for it."""
    bases: tuple[str, ...] = ()
    """Its class is one of these, or below one: where they are defined."""
    has: tuple[str, ...] = ()
    """Or it has these attributes, where the group asks for no base class."""
    factories: tuple[str, ...] = ()
    """Functions of libraries that make one."""
    inside: tuple[str, ...] = ()
    """The other groups whose targets may stand within its arguments."""
    called: bool = False
    """It is a function itself, which the launcher calls with arguments of its own: a person's need no mark."""


_ALGORITHM = Group(("launcher.algorithms.*", "launcher.monitors.*"), ("launcher.core.algorithm.Algorithm",))
_SPLITTER = Group(("launcher.data.splits.*", "sklearn.model_selection.*"), has=("split",))

GROUPS: dict[str, Group] = {
    "task": Group(("launcher.tasks.*",), ("launcher.core.task.Task",)),
    "model": Group(
        ("launcher.tasks.*", "torch.nn.*", *_SKLEARN),
        ("torch.nn.modules.module.Module", "sklearn.base.BaseEstimator"),
        inside=("validation",),
    ),
    "data": Group(("launcher.tasks.*",), has=("kind",)),
    "validation": _SPLITTER,
    "optimizer": Group(
        ("launcher.optim.*", "torch.optim.*", "transformers.optimization.*"), ("torch.optim.optimizer.Optimizer",)
    ),
    "scheduler": Group(
        ("launcher.optim.schedulers.*", "torch.optim.*", "transformers.optimization.*"),
        ("torch.optim.lr_scheduler.LRScheduler",),
        factories=_SCHEDULES,
    ),
    "precision": Group(("launcher.memory.precision.*",), ("launcher.memory.precision.Precision",)),
    "memory": Group(("launcher.memory.activations.*",), ("launcher.memory.activations.Memory",)),
    "parallel": Group(("launcher.parallel.*",), ("launcher.core.parallel.Parallel",)),
    "communication": Group(
        ("launcher.parallel.communication.*",), ("launcher.parallel.communication.base.Communication",)
    ),
    "procedure": Group(("launcher.procedures.*",), ("launcher.core.procedure.Procedure",)),
    # Not the rooms: what is beside them runs commands and asks the network.
    "cluster": Group(
        ("launcher.cluster.kubernetes.Kubernetes", "launcher.cluster.slurm.Slurm"), has=("pool", "script")
    ),
    "schedule": Group(("launcher.launch.start.carbon_aware.CarbonAware",), has=("choose", "told")),
    "tracker": Group(("launcher.trackers.*",), ("launcher.trackers.base.Tracker",)),
    "monitor": _ALGORITHM,
    "stopping": _ALGORITHM,
    "augment": _ALGORITHM,
    "regularization": _ALGORITHM,
    "hydra.sweeper": Group(("launcher.search.settings.Settings",), ("launcher.search.settings.Settings",)),
    "hydra.sweeper.sampler": Group(
        ("optuna.samplers.*", "launcher.search.space.samplers.*", "launcher.search.space.bohb.Bohb", *_SAMPLERS),
        ("optuna.samplers._base.BaseSampler", "optuna.samplers.nsgaii._crossovers._base.BaseCrossover"),
        factories=_SAMPLERS,
    ),
    "hydra.sweeper.pruner": Group(("optuna.pruners.*",), ("optuna.pruners._base.BasePruner",)),
    "hydra.sweeper.proxy": Group(("launcher.search.early.proxies.*",), called=True),
    "hydra.sweeper.custom_search_space": Group((), called=True),
}
"""By group, or by the key of a sweep's node."""

_Made = TypeVar("_Made", bound=Callable[..., Any])
_MARK = "launcher_factory"


def factory(group: str) -> Callable[[_Made], _Made]:
    """Mark a function as one that makes an object of `group`: then a config of that group may name it."""

    def mark(function: _Made) -> _Made:
        setattr(function, _MARK, group)
        return function

    return mark


def added() -> list[str]:
    """What LAUNCHER_TRUST adds. Raises ConfigError for a pattern that is none."""
    found = [entry.strip() for entry in os.environ.get("LAUNCHER_TRUST", "").split(",") if entry.strip()]
    for pattern in found:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*(\.\*)?", pattern):
            raise ConfigError(
                f"LAUNCHER_TRUST={pattern}: expected names such as my_package.* or my_package.models.Net, with commas between them"
            )
    return found


def foreign() -> list[str]:
    """The patterns of installed packages and of LAUNCHER_TRUST, which hold for every group."""
    return [*importlib.import_module("launcher.tasks.registry").trusted(), *added()]


def whitelist(group: str | None = None) -> list[str]:
    """The patterns of what a `_target_` of a group, and within it, may name; without one of all groups."""
    of = _within(group) if group is not None else list(GROUPS)
    return [*dict.fromkeys(name for each in of for name in GROUPS[each].names), *foreign()]


def allowed(target: str, patterns: list[str]) -> bool:
    """Whether a dotted name matches one of the patterns."""
    return any(target.startswith(pattern[:-1]) if pattern.endswith(".*") else target == pattern for pattern in patterns)


def home(target: Any) -> str:
    """Where a class or function really comes from, as a dotted name."""
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}"


def _within(group: str) -> list[str]:
    return [group, *GROUPS[group].inside]


def forbidden(target: str) -> str:
    """What is said of a name that no config may run."""
    return (
        f"{target}, which a config may not run. An installed package can declare it "
        f"(entry-point group launcher.targets), or you allow it: LAUNCHER_TRUST={target}"
    )


def misnamed(target: Any, group: str, inside: bool = False) -> str | None:
    """Why a name can be no target of a group, of its node or within its arguments; None where it may. Imports nothing."""
    if not isinstance(target, str) or not target:
        return "expected the dotted name of a class"
    of = _within(group) if inside else [group]
    if any(allowed(target, [*GROUPS[each].names, *foreign()]) for each in of):
        return None
    other = next((name for name, each in GROUPS.items() if allowed(target, list(each.names))), None)
    return forbidden(target) if other is None else f"{target} is nothing that {group} can be; it belongs to {other}"


def groups_of(found: Any, target: str) -> list[str]:
    """The groups that the object behind a name may stand in."""
    return [group for group in GROUPS if misnamed(target, group) is None and _is(found, target, group)]


def unfit(found: Any, target: str, group: str, inside: bool = False) -> str | None:
    """Why the object behind a name that is not `misnamed` can be no target of a group; None where it may."""
    real = home(found)
    names = [name for each in _within(group) for name in GROUPS[each].names]
    if target not in foreign() and not allowed(real, [*names, *foreign()]):
        return f"{target} is another name of {forbidden(real)}"
    if any(_is(found, target, each) for each in (_within(group) if inside else [group])):
        return None
    if inspect.isclass(found):
        return unlike(target, group)
    return (
        f"{target} is a function, and a config names classes. A function that makes one for {group} is marked "
        f"@launcher.config.trust.factory({group!r}), or you allow it by its whole name: LAUNCHER_TRUST={target}"
    )


def unlike(target: str, group: str) -> str:
    """What is said of a class that is not of a group."""
    kind = GROUPS[group]
    wanted = f"one below {' or '.join(kind.bases)}" if kind.bases else f"a class with {' and '.join(kind.has)}"
    return f"{target} is nothing that {group} can be: expected {wanted}"


def _is(found: Any, target: str, group: str) -> bool:
    """Whether an object is of a group's classes, or a function that makes one."""
    kind = GROUPS[group]
    if inspect.isclass(found):
        names = {home(each) for each in found.__mro__}
        return bool(names & set(kind.bases)) or (bool(kind.has) and all(hasattr(found, name) for name in kind.has))
    if not inspect.isroutine(found):
        return False
    if inspect.ismethod(found) or "." in found.__qualname__:  # bound, or of a class: it would run on what is there
        return False
    if target in kind.factories or getattr(found, _MARK, None) == group:
        return True
    return target in added() or (kind.called and allowed(target, foreign()))


def within(node: Any) -> Iterator[tuple[dict[str, Any], bool]]:
    """Every node with a `_target_`, each with whether it stands inside another one."""
    todo = [(node, False)]
    while todo:
        each, inside = todo.pop()
        if isinstance(each, dict) and "_target_" in each:
            yield each, inside
            inside = True
        children = each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        todo += [(child, inside) for child in children]
