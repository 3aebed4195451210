"""Words that only a person may say: what a shell or a cluster runs, where a token is sent, a file elsewhere.

Typed on the command line they are the person's own. In a file, or in the config of a run that is resumed, they are
whoever's wrote it, and LAUNCHER_TRUST has to name them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from .trust import added, allowed

OWN = {
    "cluster.setup": "lines of a shell",
    "cluster.srun_args": "arguments of a command",
    "cluster.python": "a program",
    "cluster.container": "a command",
    "cluster.extra": "options of the cluster's",
    "cluster.image": "a program of the cluster's",
    "cluster.environment": "variables of a program",
    "start.url": "an address that a token is sent to",
    "plan.picture": "a file to be written",
}
"""By key, what it stands for."""
_DEFAULTS = {"cluster.python": (None, "python")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def unasked(config: dict[str, Any], where: Callable[[str], str]) -> Iterator[str]:
    """What a config says of these that nobody has typed and nothing allows, a line each."""
    for key, what in OWN.items():
        group, _, name = key.partition(".")
        value = (config.get(group) or {}).get(name)
        if value in (None, [], {}) or value in _DEFAULTS.get(key, ()) or allowed(key, added()):
            continue
        for leaf in _leaves(key, value):
            if not _typed(leaf, where):
                yield f"{where(leaf)}: {what}, which only you may say: type {key}=... yourself, or allow it: LAUNCHER_TRUST={key}"
                break
    for name, value in (config.get("cluster") or {}).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and _CONTROL.search(text) and name != "setup":
                yield f"{where(f'cluster.{name}')}: a line break or another control character would end its line in the job's script"


def _leaves(key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        yield key
        return
    for name, child in value.items():
        yield from _leaves(f"{key}.{name}", child)


def _typed(key: str, where: Callable[[str], str]) -> bool:
    """Whether the command says this key, or one that it is inside of; hydra-submitit-launcher's keys mean the cluster's."""
    parts = key.split(".")
    keys = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    keys += [each.replace("cluster.", "hydra.launcher.", 1) for each in keys if each.startswith("cluster.")]
    return any(
        where(each).lstrip("+").startswith(f"{each}=") and (each.count(".") or "{" in where(each)) for each in keys
    )
