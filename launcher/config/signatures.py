"""What each `_target_` can be given: a table, so that a wrong argument is refused without importing the target.

`python -m launcher.config.signatures` writes `signatures.json` beside this file: it imports every target that conf/ names
and takes down its arguments and the class attributes by which tasks, models and data fit together. A test holds the
table to the code. Targets that are not in it (from another package, or a user's own) are imported and read then. How a type is written,
`values.py` says.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union

from launcher.adapters.sklearn import constraints_of
from launcher.errors import ConfigError, did_you_mean

from .trust import allowed, forbidden, whitelist

TABLE = Path(__file__).with_suffix(".json")
FACTS = (
    "kinds", "kind", "provides", "metric_names", "low_is_good", "estimators", "packages", "extra",
    "needs", "needs_task", "needs_model", "capabilities", "offers", "limits_time", "replicas", "apart", "lacks", "probable_metrics",
)  # fmt: skip
"""Class attributes that say what goes with what. Beside them stands `groups`: those that the target may stand in."""


@dataclass
class Signature:
    """The arguments of a target: `parameters` maps each name to its type, in order."""

    parameters: dict[str, list[str]]
    required: list[str] = field(default_factory=list)
    open: bool = False  # takes any other keyword too
    facts: dict[str, Any] = field(default_factory=dict)


@cache
def table() -> dict[str, Signature]:
    """The shipped table, by the target's dotted name; empty before it was ever written."""
    if not TABLE.is_file():
        return {}
    return {name: Signature(**entry) for name, entry in json.loads(TABLE.read_text()).items()}


def signature(target: str) -> Signature:
    """The signature of a target, from the table or from the target itself. Raises ConfigError where there is none, and
    for a name that no config may run, of which nothing is imported: this is asked before a config is checked, too."""
    known = table().get(target)
    if known is None and not allowed(target, whitelist()):
        raise ConfigError(forbidden(target))
    return known or read_signature(locate(target))


def locate(target: str) -> Any:
    """The class or function behind a dotted name. Raises ConfigError that says which part of the name is wrong."""
    parts = target.split(".")
    found = _imported(parts[0])
    if found is None:
        raise ConfigError(f"there is no package {parts[0]!r} here")
    for num, part in enumerate(parts[1:], start=1):
        inside = getattr(found, part, None)
        if inside is None and isinstance(found, types.ModuleType):
            inside = _imported(".".join(parts[: num + 1]))
        if inside is None:
            names = [name for name in dir(found) if not name.startswith("_")]
            raise ConfigError(f"{'.'.join(parts[:num])} has no {part!r}.{did_you_mean(part, names)}")
        found = inside
    if not callable(found):
        raise ConfigError("neither a class nor a function")
    return found


def _imported(module: str) -> types.ModuleType | None:
    """A module, or None where there is none of that name."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module or error.name == module.rpartition(".")[0]:
            return None
        raise ConfigError(f"importing {module} failed: {error}") from error
    except Exception as error:  # whatever a foreign module does when it is imported
        raise ConfigError(f"importing {module} failed: {type(error).__name__}: {error}") from error


def read_signature(target: Any) -> Signature:
    """The signature of a class or a function, taken from its annotations (scikit-learn's: from its own constraints)."""
    try:
        given = inspect.signature(target)
    except (ValueError, TypeError):  # built in, or written in C
        return Signature({}, open=True)
    names = vars(sys.modules.get(target.__module__, typing))
    constraints = constraints_of(target)
    result = Signature({})
    for parameter in given.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            result.open = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            constraint = constraints.get(parameter.name)
            result.parameters[parameter.name] = (
                _from_constraints(constraint)
                if isinstance(constraint, list)
                else from_annotation(parameter.annotation, names)
            )
            if parameter.default is parameter.empty:
                result.required.append(parameter.name)
    result.facts = {
        name: _plain(getattr(target, name))
        for name in FACTS
        if isinstance(getattr(target, name, None), str | tuple | list | dict | bool | frozenset)
    }
    if _is_estimator(target):
        result.facts["estimator"] = True
        if not result.required and any(base.__name__ == "ClassifierMixin" for base in target.__mro__):
            result.facts["probabilities"] = hasattr(target(), "predict_proba")  # may depend on its arguments
    return result


def _is_estimator(target: Any) -> bool:
    return inspect.isclass(target) and all(hasattr(target, name) for name in ("fit", "predict", "get_params"))


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, frozenset) else list(value) if isinstance(value, tuple) else value


def from_annotation(annotation: Any, names: dict[str, Any]) -> list[str]:
    """The alternatives of an annotation, which may be a text to be read with `names`."""
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, names)  # what typing.get_type_hints does, but one annotation at a time
        except Exception:  # a name that is only imported for type checkers
            return []
    found = list(dict.fromkeys(_alternatives(annotation)))
    return [] if "any" in found else found


def _alternatives(annotation: Any) -> Iterator[str]:
    simple = {
        int: "int",
        float: "float",
        bool: "bool",
        str: "str",
        type(None): "none",
        None: "none",
        dict: "dict",
        list: "list",
        tuple: "list",
    }
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated or isinstance(annotation, typing.NewType):
        yield from _alternatives(arguments[0] if arguments else annotation.__supertype__)
    elif annotation in (inspect.Parameter.empty, Any, object) or isinstance(annotation, typing.TypeVar):
        yield "any"
    elif isinstance(annotation, type) and issubclass(annotation, os.PathLike):
        yield "str"
    elif annotation in simple:
        yield simple[annotation]
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _alternatives(argument)
    elif origin is Literal:
        for argument in arguments:
            number = f"int[{argument},{argument}]" if type(argument) is int else "any"
            yield repr(argument) if isinstance(argument, str) else "none" if argument is None else number
    elif isinstance(origin, type) and issubclass(origin, dict | typing.Mapping):
        yield "dict"
    elif isinstance(origin, type) and origin is not type and issubclass(origin, typing.Iterable):
        entries = [argument for argument in arguments if argument is not ...]
        inner = {alternative for entry in entries for alternative in _alternatives(entry)} - {"object"}
        num = len(entries) if origin is tuple and ... not in arguments else ""
        yield f"list[{inner.pop()}]{num}" if len(inner) == 1 and "any" not in inner else "list"
    else:
        yield "object"


def _from_constraints(constraints: list[Any]) -> list[str]:
    """scikit-learn's own description of a parameter as alternatives."""
    found: list[str] = []
    for constraint in constraints:
        kind = type(constraint).__name__
        if constraint is None:
            found.append("none")
        elif constraint in ("boolean", "verbose"):
            found += ["bool"] if constraint == "boolean" else ["bool", "int[0,inf)"]
        elif constraint == "random_state":
            found += ["none", "int[0,4294967295]"]
        elif kind in ("Interval", "RealNotInt"):
            low = "-inf" if constraint.left is None else repr(constraint.left)
            high = "inf" if constraint.right is None else repr(constraint.right)
            opening = "[" if constraint.closed in ("left", "both") else "("
            closing = "]" if constraint.closed in ("right", "both") else ")"
            found.append(
                f"{'int' if constraint.type.__name__ == 'Integral' else 'float'}{opening}{low},{high}{closing}"
            )
        elif kind in ("StrOptions", "Options") and all(isinstance(option, str) for option in constraint.options):
            found += sorted(repr(str(option)) for option in constraint.options)
        elif constraint is dict or constraint is list:
            found.append(constraint.__name__)
        elif getattr(constraint, "__name__", None) in ("Integral", "Real"):
            found.append("int" if constraint.__name__ == "Integral" else "float")
        elif kind != "Hidden":  # a deprecated way, or one for objects
            found.append("object")
    return found
