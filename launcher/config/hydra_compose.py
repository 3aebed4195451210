"""Where Hydra composes a whole command at once, for a sweep or to show its config: what goes before, and what it refuses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from hydra.core.override_parser.types import Override
from hydra.types import RunMode

from launcher.adapters.hydra import Hydra
from launcher.errors import ConfigError

from . import compose, file_errors, spelling
from .origins import Origins


def reparse(hydra: Hydra, config_name: str, parsed: list[Override], mode: RunMode = RunMode.RUN) -> list[Override]:
    """The overrides with those of arguments that hold texts read as texts, where Hydra composes all of them at once: what
    is chosen says which arguments there are. What can not be composed comes back as it is."""
    lines = [str(each.input_line) for each in parsed]
    if all(spelling.as_text(line) == line for line in lines):
        return parsed
    try:
        config = hydra.compose_config(config_name, [], mode, parsed_overrides=parsed, validate_sweep_overrides=False)
    except compose.REFUSALS:
        return parsed
    return compose.parse(hydra, config_name, spelling.told(lines, config), sweep=mode is RunMode.MULTIRUN)


def refusal(error: Exception, hydra: Hydra, config_name: str, parsed: list[Override]) -> ConfigError:
    """What to say of a composition that failed elsewhere: what `whole` says of the same overrides."""
    try:
        compose.whole(hydra, Origins(compose.loader_of(hydra), config_name, parsed))
    except ConfigError as found:
        return found
    return ConfigError(file_errors.short(error))


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Have Hydra raise its errors, which it would otherwise print in its own words before it exits."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before
