"""The loop that a task names, found when a model is to be trained and not before: the driver imports none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.config.signatures import locate
from launcher.config.trust import allowed, forbidden, foreign, home
from launcher.core.loop import Loop
from launcher.errors import ConfigError

if TYPE_CHECKING:
    from launcher.core.task import Task

OURS = "launcher.train.loops"


def loop_class(task: Task) -> type[Loop]:
    """The class of `task.loop()`: of a name without dots the one in our module of that name, else the one that the dotted
    name stands for.

    A package beside ours brings a loop in the second way. Its code is trusted by the rule for a config's `_target_`: the
    package declares an entry point, or a person names it in LAUNCHER_TRUST. Raises ConfigError for any other, and for
    what is no Loop.
    """
    name = task.loop()
    target = name if "." in name else f"{OURS}.{name}.{''.join(part.capitalize() for part in name.split('_'))}"
    trusted, where = [f"{OURS}.*", *foreign()], f"{type(task).__name__}.loop"
    if not allowed(target, trusted):
        raise ConfigError(f"{where}: {forbidden(target)}")
    try:
        loop = locate(target)
    except ConfigError as error:
        raise ConfigError(f"{where}={name!r}: {error}") from error
    if not isinstance(loop, type) or not issubclass(loop, Loop):
        raise ConfigError(f"{where}={name!r}: {target} is no class below {home(Loop)}")
    if not allowed(home(loop), trusted):
        raise ConfigError(f"{where}: {target} is another name of {forbidden(home(loop))}")
    return loop
