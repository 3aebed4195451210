"""Private names of argparse."""

from __future__ import annotations

import argparse


def flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """Every flag that a parser knows."""
    return [flag for action in parser._actions for flag in action.option_strings]  # Python 3.11


def set_version(parser: argparse.ArgumentParser, version: str) -> None:
    """Have `--version` print this, where the parser has such a flag."""
    for action in parser._actions:  # Python 3.11
        if isinstance(action, argparse._VersionAction):  # Python 3.11
            action.version = version
