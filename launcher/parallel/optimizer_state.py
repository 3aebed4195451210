"""The state of an optimizer whose parameters lie on several ranks, as that of one that has them all."""

from __future__ import annotations

from typing import Any


def full_optimizer_state(own: dict[str, Any], parts: list[dict[str, Any]], order: list[list[str]]) -> dict[str, Any]:
    """A `state_dict` as one optimizer with all parameters would have it.

    `own` is this rank's, with the groups' options; `parts` are ranks' entries by the parameter's name, of which the last
    counts; `order` the names of each group in a whole model.
    """
    entries: dict[str, Any] = {}
    for part in parts:
        entries |= part
    numbers = {name: number for number, name in enumerate(name for group in order for name in group)}
    groups = [
        options | {"params": [numbers[name] for name in names]}
        for options, names in zip(own["param_groups"], order, strict=True)
    ]
    return {
        "state": {numbers[name]: entry for name, entry in sorted(entries.items(), key=lambda each: numbers[each[0]])},
        "param_groups": groups,
    }


def own_optimizer_state(full: dict[str, Any], order: list[list[str]], mine: set[str]) -> dict[str, Any]:
    """The part of a whole model's `state_dict` for an optimizer that has the parameters `mine`, in that order."""
    names = [name for group in order for name in group]
    kept = [number for number, name in enumerate(names) if name in mine]
    new = {number: place for place, number in enumerate(kept)}
    groups = [
        options | {"params": [new[number] for number in options["params"] if number in new]}
        for options in full["param_groups"]
    ]
    return {
        "state": {new[number]: full["state"][number] for number in kept if number in full["state"]},
        "param_groups": groups,
    }
