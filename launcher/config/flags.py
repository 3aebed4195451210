"""Hydra's own flags, parsed: what the command asks to be shown, and what it cannot ask for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from launcher import __version__
from launcher.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    pass


def wants_traceback(words: list[str]) -> bool:
    """Whether some debug option was asked for, all of which show the traceback of an error."""
    asked = [word.partition("=")[2] for word in words if word.startswith(("debug=", "debug.traceback="))]
    return any(value.lower() not in ("", "false", "null", "[]") for value in asked)


def parse_flags(words: list[str]) -> argparse.Namespace:
    """Hydra's own flags. Raises ConfigError for one that it does not know or that can not apply here."""
    from launcher.adapters.argparse import flags_of, set_version
    from launcher.adapters.hydra import get_args_parser

    parser = get_args_parser()
    parser.prog = "launcher"
    flags = flags_of(parser)

    def refuse(message: str) -> NoReturn:
        unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in flags]
        if "unrecognized" in message and unknown:
            raise ConfigError(
                f"{unknown[0]}: no such flag.{did_you_mean(unknown[0].partition('=')[0], [flag for flag in flags if flag.startswith('--')])}"
            )
        raise ConfigError(message.replace("argument ", "", 1))

    parser.error = refuse  # type: ignore[method-assign]  # instead of a usage text
    set_version(parser, f"launcher {__version__}")
    args = parser.parse_intermixed_args(words)
    if args.config_path is not None:
        raise ConfigError(
            f"--config-path={args.config_path} would leave out the launcher's own groups; --config-dir={args.config_path} adds a folder to them"
        )
    if args.experimental_rerun is not None:
        raise ConfigError(
            f"--experimental-rerun={args.experimental_rerun}: a run is continued with resume=<its folder>"
        )
    if args.resolve and args.cfg is None and not args.help:
        raise ConfigError("--resolve goes with --cfg or --help")
    chosen = [
        flag
        for flag, given in (
            ("--cfg", args.cfg),
            ("--multirun", args.multirun),
            ("--shell-completion", args.shell_completion),
            ("--info", args.info),
        )
        if given
    ]
    if len(chosen) > 1:
        raise ConfigError(f"{' and '.join(chosen)} do not go together")
    return args


def inspects(args: argparse.Namespace) -> bool:
    """Whether the command only shows something."""
    return bool(args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)
