"""`python -m launcher`: from the words on the command line to an exit status."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from launcher.search.command import sweep

from . import __version__
from .console.terminal import fill_streams
from .errors import FAILED, REFUSED, ConfigError, LauncherError, did_you_mean
from .process.exit import leave
from .process.garbage import begin, held_off
from .process.signals import stay

if TYPE_CHECKING:
    from collections.abc import Callable

    from hydra._internal.hydra import Hydra
    from hydra.core.override_parser.types import Override

INTERRUPTED = 130
"""Exit status after Ctrl-C before anything was started: 128 + SIGINT, as shells have it."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors written for people are printed alone."""
    words = sys.argv[1:] if argv is None else argv
    # OpenMP's threads wait for each other by spinning, which on a machine that is shared with other work takes the
    # processor from the very thread that is waited for (steps were seen to take 20 times as long). To sleep at once makes the
    # steps of a small model three times as long. So GNU's spin for some ten microseconds, and then sleep. Others, as a
    # Mac's, know the policy but not the count.
    if sys.platform == "linux" and "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        with held_off():
            return run(words)
    except LauncherError as error:
        if wants_traceback(words) and not str(error).startswith(
            "debug="
        ):  # of no such option there is nothing to trace
            traceback.print_exc()
        from .console.numbers import printable

        print("\n".join(map(printable, f"error: {error}".split("\n"))), file=sys.stderr)  # it may quote a file
        return error.exit_status
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            print(f"error: {str(error.filename)[:60]}…: no file has a name longer than 255 letters", file=sys.stderr)
            return REFUSED
        if not isinstance(error, BrokenPipeError) or not nobody_reads():  # `launcher --cfg job | head`
            raise
        sys.stderr.close()
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def nobody_reads() -> bool:
    """Whether stdout is a pipe whose other end is closed."""
    import select

    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(1, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def wants_traceback(words: list[str]) -> bool:
    """Whether some debug option was asked for, all of which show the traceback of an error."""
    asked = [word.partition("=")[2] for word in words if word.startswith(("debug=", "debug.traceback="))]
    return any(value.lower() not in ("", "false", "null", "[]") for value in asked)


def run(words: list[str]) -> int:
    """Parse the flags and do what they say. Raises LauncherError."""
    args = parse_flags(words)
    from .config import compose, resume
    from .config.checks.nodes import check

    with compose.session(args.config_dir) as hydra:
        name = args.config_name or compose.CONFIG_NAME
        if inspects(args):
            return show(hydra, name, args)
        from .artifacts.masking import mask
        from .artifacts.provenance import remember

        remember(words)
        sys.argv[1:] = [mask(word) for word in sys.argv[1:]]  # which the services' clients write down
        if args.multirun:
            if resume.asked(args.overrides):
                raise ConfigError(
                    "resume=… continues a single run, without -m; a sweep goes on by its own command, or its hydra.sweeper.study_name"
                )
            return sweep(hydra, name, args.overrides)
        resumed = resume.asked(args.overrides)
        composed = (
            resume.resume(hydra, args.overrides, name) if resumed else compose.compose(hydra, args.overrides, name)
        )
        check(composed.config, composed.origins)
    action = composed.config.action
    if composed.config.schedule and action in ("train", "plan") and not resumed:  # what has begun goes on at once
        from .launch.start.wait import wait

        left = wait(composed.config, composed.folder)
        if left is not None:
            return left
    if action != "train":
        begin()
    if action == "plan":
        from .actions import plan

        status = plan.act(composed.config)
        if composed.config.cluster:
            from .launch.driver import script_of

            print(f"\nWhat would be submitted; nothing was.\n\n{script_of(composed.config, composed.folder)}")
        return status
    if action == "lr_find":
        from .preflight import lr_find

        return lr_find.act(composed.config, composed.folder)
    if action != "train":
        from .actions.dispatch import act

        return act(composed.config)
    from .launch.driver import place

    return place(composed.config, composed.folder, resume=resumed)


def parse_flags(words: list[str]) -> argparse.Namespace:
    """Hydra's own flags. Raises ConfigError for one that it does not know or that can not apply here."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.prog = "launcher"
    flags = [flag for action in parser._actions for flag in action.option_strings]

    def refuse(message: str) -> NoReturn:
        unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in flags]
        if "unrecognized" in message and unknown:
            raise ConfigError(
                f"{unknown[0]}: no such flag.{did_you_mean(unknown[0].partition('=')[0], [flag for flag in flags if flag.startswith('--')])}"
            )
        raise ConfigError(message.replace("argument ", "", 1))

    parser.error = refuse  # type: ignore[method-assign]  # instead of a usage text
    for action in parser._actions:
        if isinstance(action, argparse._VersionAction):
            action.version = f"launcher {__version__}"
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


def show(hydra: Hydra, name: str, args: argparse.Namespace) -> int:
    """Show help, the config or what Hydra knows; the work is Hydra's, the refusals are ours."""
    from hydra._internal.utils import get_args_parser

    from .config import compose, hydra_compose

    if args.shell_completion:
        hydra.shell_completion(config_name=name, overrides=args.overrides)
        return 0
    parsed: list[Override] = compose.parse(hydra, name, args.overrides)
    if args.cfg:
        parsed = hydra_compose.reparse(hydra, name, parsed)
    common: dict[str, Any] = {"config_name": name, "parsed_overrides": parsed}
    try:
        with hydra_compose.raising():
            if args.help:
                print(help_text(hydra, args, **common))
            elif args.hydra_help:
                hydra.hydra_help(args_parser=get_args_parser(), args=args, **common)
            elif args.cfg:
                hydra.show_cfg(
                    overrides=args.overrides, cfg_type=args.cfg, package=args.package, resolve=args.resolve, **common
                )
            else:
                hydra.show_info(args.info, overrides=args.overrides, **common)
    except BrokenPipeError:
        raise
    except compose.REFUSALS as error:
        raise hydra_compose.refusal(error, hydra, name, parsed) from error
    except SystemExit as left:  # Hydra found nothing under --package, and has said so
        return REFUSED if left.code else 0
    return 0


def help_text(hydra: Hydra, args: argparse.Namespace, **common: Any) -> str:
    """The template `hydra.help.template`, as Hydra fills it in, but no more of it than the template asks for."""
    from string import Template

    from hydra._internal.utils import get_args_parser
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    config = hydra.compose_config(overrides=args.overrides, run_mode=RunMode.RUN, skip_missing_defaults=True, **common)
    loader = hydra.config_loader

    def groups() -> str:
        tops = [name for name in loader.list_groups("") if name != "hydra"]
        names = sorted([*tops, *(inner for top in tops for inner in hydra.list_all_config_groups(top))])
        found = {name: sorted(loader.get_group_options(name)) for name in names}
        return "".join(f"{name}: {', '.join(options)}\n" for name, options in found.items() if options)

    template = Template(config.hydra.help.template)
    made: dict[str, Callable[[], str]] = {
        "APP_CONFIG_GROUPS": groups,
        "HYDRA_CONFIG_GROUPS": lambda: hydra.format_config_groups(lambda name: name.startswith("hydra")),
        "FLAGS_HELP": lambda: hydra.format_args_help(get_args_parser()),
        "CONFIG": lambda: OmegaConf.to_yaml(hydra.get_sanitized_cfg(config, "job"), resolve=args.resolve),
        "OVERRIDE_ALIASES": lambda: hydra._get_override_aliases(common["config_name"]).format(),
    }
    return template.substitute({name: made[name]() for name in template.get_identifiers() if name in made})


if __name__ == "__main__":
    # Nothing here asks, and no library shall: a question at the terminal may be answered by what is piped in.
    fill_streams()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    stay()
    leave(main())
