"""Whose code a config may name: of each group the classes that it takes, and nothing else.

A `_target_` runs code, so a config can only name what its group's entry in the table of groups lets in: a class below one
of its bases, or a factory that is marked as one. An installed package adds its own by an entry point, a person by the
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
from typing import Any, TypeVar

from launcher.errors import ConfigError

from .groups import GROUPS, SWEEPER

NODES = GROUPS | SWEEPER
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
    of = _within(group) if group is not None else list(NODES)
    return [*dict.fromkeys(name for each in of for name in NODES[each].rooms), *foreign()]


def allowed(target: str, patterns: list[str]) -> bool:
    """Whether a dotted name matches one of the patterns."""
    return any(target.startswith(pattern[:-1]) if pattern.endswith(".*") else target == pattern for pattern in patterns)


def home(target: Any) -> str:
    """Where a class or function really comes from, as a dotted name."""
    return f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}"


def _within(group: str) -> list[str]:
    return [group, *NODES[group].inside]


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
    if any(allowed(target, [*NODES[each].rooms, *foreign()]) for each in of):
        return None
    other = next((name for name, each in NODES.items() if allowed(target, list(each.rooms))), None)
    return forbidden(target) if other is None else f"{target} is nothing that {group} can be; it belongs to {other}"


def groups_of(found: Any, target: str) -> list[str]:
    """The groups that the object behind a name may stand in."""
    return [group for group in NODES if misnamed(target, group) is None and _is(found, target, group)]


def unfit(found: Any, target: str, group: str, inside: bool = False) -> str | None:
    """Why the object behind a name that is not `misnamed` can be no target of a group; None where it may."""
    real = home(found)
    names = [name for each in _within(group) for name in NODES[each].rooms]
    if target not in foreign() and not allowed(real, [*names, *foreign()]):
        return f"{target} is another name of {forbidden(real)}"
    if any(_is(found, target, each) for each in (_within(group) if inside else [group])):
        return None
    if inspect.isclass(found):
        return unlike(target, group)
    return (
        f"{target} is a function, and a config names classes. A function that makes one for {group} is marked "
        f"@launcher.factory({group!r}), or you allow it by its whole name: LAUNCHER_TRUST={target}"
    )


def unlike(target: str, group: str) -> str:
    """What is said of a class that is not of a group."""
    kind = NODES[group]
    wanted = f"one below {' or '.join(kind.bases)}" if kind.bases else f"a class with {' and '.join(kind.has)}"
    return f"{target} is nothing that {group} can be: expected {wanted}"


def _is(found: Any, target: str, group: str) -> bool:
    """Whether an object is of a group's classes, or a function that makes one."""
    kind = NODES[group]
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
