"""From a node of the config to the object that it describes, and to what its class says of its arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .errors import ConfigError
from .trust import whitelist


def instantiate(node: DictConfig, *args: Any, **kwargs: Any) -> Any:
    """A node's object, or a partial of it. The whitelist is passed here, in this process, because Hydra's own is a
    context variable that a forked or spawned worker does not inherit. It gets a copy without its parent: Hydra copies
    what it is given, of a node within a config the whole config."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    try:
        alone = OmegaConf.create(plain_dict(node))
        return hydra_instantiate(alone, *args, _execution_whitelist_=whitelist(), _convert_="all", **kwargs)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ConfigError):
            raise cause from None
        if isinstance(cause, REFUSING):
            raise _refused(node.get("_target_"), cause) from error
        raise


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
        raise _refused(
            f"{target.__module__}.{target.__qualname__}" if hasattr(target, "__qualname__") else target, error
        ) from error


def _refused(target: Any, error: BaseException) -> ConfigError:
    return ConfigError(f"{target} does not take its arguments: {' '.join(str(error).split())[:300]}")


def plain_dict(config: DictConfig) -> dict[str, Any]:
    """A node as plain Python values, resolved."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
