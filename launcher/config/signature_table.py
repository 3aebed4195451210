"""The table of the arguments of every shipped entry, taken down from the classes themselves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from launcher import CONF

from .signatures import TABLE, locate, read_signature
from .trust import groups_of


def targets() -> list[str]:
    """Every dotted name that some file of conf/ uses as a `_target_`, all choices of a `${by_problem:…}` included."""
    import yaml

    from .resolvers import alternatives

    found: set[str] = set()
    for path in CONF.rglob("*.yaml"):
        for text in _targets_in(yaml.safe_load(path.read_text(encoding="utf-8"))):
            found.update(alternatives(text))
    return sorted(found)


def _targets_in(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _targets_in(child)


def build_table() -> dict[str, Any]:
    """The table anew, from the code; imports every target."""
    entries: dict[str, Any] = {}
    for target in targets():
        real = locate(target)
        found = read_signature(real)
        found.facts["groups"] = groups_of(real, target)
        entries[target] = {name: value for name, value in vars(found).items() if value or name == "parameters"}
    return entries


def dumps(entries: dict[str, Any]) -> str:
    """The table as it stands in the file: an entry a line, so that a change is one line of a diff."""
    lines = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    TABLE.write_text(dumps(build_table()))
    sys.stdout.write(f"{TABLE}: {len(targets())} targets\n")
