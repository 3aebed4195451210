"""Whether what a config's entries need is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from launcher.config.groups import holding
from launcher.config.signatures import signature


def missing_packages(config: dict[str, Any]) -> Iterator[str]:
    """What an entry needs installed, by its class's own word."""
    from importlib.util import find_spec

    for group in holding("many"):
        for name, node in (config[group] or {}).items():
            facts = signature(node["_target_"]).facts
            missing = [package for module, package in facts.get("packages", {}).items() if find_spec(module) is None]
            if missing:
                yield f"{group}={name} needs {' and '.join(missing)}, which is not installed: pip install {_wanted(facts, missing)}, or leave it out with {group}=[]"
    for group in holding("one", "perhaps"):
        if not config[group]:
            continue
        target = config[group]["_target_"]
        facts = signature(target).facts
        missing = [package for module, package in facts.get("packages", {}).items() if find_spec(module) is None]
        if missing:
            yield f"{group}: {target.rpartition('.')[2]} needs {' and '.join(missing)}, which is not installed: pip install {_wanted(facts, missing)}"


def _wanted(facts: dict[str, Any], missing: list[str]) -> str:
    return f"'training-launcher[{facts['extra']}]'" if facts.get("extra") else " ".join(missing)
