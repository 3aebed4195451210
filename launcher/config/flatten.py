"""A nested config as one level of dotted keys: for tables, and for services that keep no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of what lies in nested mappings, in their order; a list, and an empty mapping, is a value."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, node
