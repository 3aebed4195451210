"""Help, the config and what Hydra knows, shown: Hydra prints, the refusals are ours."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from launcher.errors import REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable

    from hydra.core.override_parser.types import Override

    from launcher.adapters.hydra import Hydra


def show(hydra: Hydra, name: str, args: argparse.Namespace) -> int:
    """Show help, the config or what Hydra knows; the work is Hydra's, the refusals are ours."""
    from launcher.adapters.hydra import get_args_parser
    from launcher.config import compose, hydra_compose

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

    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from launcher.adapters.hydra import aliases_of, get_args_parser

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
        "OVERRIDE_ALIASES": lambda: aliases_of(hydra, common["config_name"]),
    }
    return template.substitute({name: made[name]() for name in template.get_identifiers() if name in made})
