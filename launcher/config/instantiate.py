"""The only call of Hydra's that makes an object of a config's node, wherever a process stands.

What the checks refused of a config in the driver is refused here once more of what is really built: a worker and a
resumed run read a file that anybody may have written meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from launcher.adapters.omegaconf import full_key
from launcher.errors import ConfigError

if TYPE_CHECKING:
    pass

import contextlib
from collections.abc import Iterator

from launcher.errors import beginning

from .signatures import locate, table
from .trust import NODES, misnamed, unfit, unlike, whitelist, within

_ONLY: dict[str, tuple[Any, str]] = {
    "memory": (None, "a cache of joblib's, which unpickles what lies in that folder"),
    "input": ("content", "the rows of the data would name files to be read"),
}
"""Of scikit-learn's classes: the one value that an argument may have, and why."""


def instantiate(node: Any, *args: Any, group: str | None = None, **kwargs: Any) -> Any:
    """A node's object, or a partial of it. `group` is the one that the node stands for; a node of a whole config knows
    it. Hydra gets a copy without its parent: it copies what it is given, of a node within a config the whole config. Its
    own list is a context variable that a forked or spawned worker does not inherit, and is passed here.

    Raises ConfigError for a target that the group does not take.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    where = group or _group_of(node)
    target = plain.get("_target_") if isinstance(plain, dict) else None
    for each, inside in within(plain):
        found = unwanted(each["_target_"], where, inside) or refused(each)
        if found:
            raise ConfigError(f"{where}: {found}")
    try:
        made = OmegaConf.create(plain)
        return hydra_instantiate(made, *args, _execution_whitelist_=whitelist(where), _convert_="all", **kwargs)
    except InstantiationException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, REFUSING):
            raise _in_words(target, error.__cause__) from error
        raise


def unwanted(target: Any, group: str, inside: bool = False) -> str | None:
    """Why a target can not stand in a group's node, or within its arguments; None where it may. What the table knows of
    is not imported."""
    said = misnamed(target, group, inside)
    if said is not None:
        return said
    known = table().get(target)
    if known is None:
        try:
            return unfit(locate(target), target, group, inside)
        except ConfigError as error:
            return f"{target}: {error}"
    of = [group, *NODES[group].inside] if inside else [group]
    return None if set(of) & set(known.facts.get("groups", ())) else unlike(target, group)


def _group_of(node: Any) -> str:
    """The group that a node of a config is of, by its place there."""
    full = full_key(node) if isinstance(node, DictConfig) else ""
    group = full.partition(".")[0]
    if group not in NODES:
        raise ConfigError(f"{full or 'a node by itself'}: no group is known whose _target_ this would be")
    return group


def refused(node: dict[str, Any]) -> str | None:
    """Why the arguments of a node with a `_target_` can not stand there; None where they may.

    Some of scikit-learn's would read files, unpickle a cache, or call what they are given on the data; a search over
    the arguments of an estimator sets them too, as `pipeline__memory`.
    """
    return _refused(node, "") if str(node["_target_"]).startswith("sklearn.") else None


def _refused(value: Any, name: str) -> str | None:
    last = name.rpartition("__")[2]
    each = value if isinstance(value, list) else [value]
    if last in _ONLY and any(one != _ONLY[last][0] for one in each):
        wanted, why = _ONLY[last]
        return f"{name}={value}: {why}; a config may give {'null' if wanted is None else wanted} alone"
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if isinstance(child, dict) and child.get("_partial_"):
            return f"{key}: a callable, which no argument of scikit-learn's may be in a config; leave _partial_ out"
        found = _refused(child, str(key))
        if found:
            return found
    return None


REFUSING = (TypeError, ValueError, AssertionError, NotImplementedError)
"""What libraries raise for arguments that they do not take."""


@contextlib.contextmanager
def refusals_of(target: Any) -> Iterator[None]:
    """What a class says of its arguments while it is called is said as the config's fault, which it is.

    Raises ConfigError, with what it was as the cause.
    """
    try:
        yield
    except REFUSING as error:
        raise _in_words(
            f"{target.__module__}.{target.__qualname__}" if hasattr(target, "__qualname__") else target, error
        ) from error


def _in_words(target: Any, error: BaseException) -> ConfigError:
    return ConfigError(f"{target} does not take its arguments: {beginning(error)}")


def plain_dict(config: DictConfig) -> dict[str, Any]:
    """A node as plain Python values, resolved."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
