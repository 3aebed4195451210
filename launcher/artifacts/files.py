"""The files of a run's folder, read for a person's command: whole and of the right form, or one message that names the
file, what is wrong with it, and what can still be done.

Every file of a folder is written beside and renamed, so a run never leaves half of one: disks, editors and copies do.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from launcher.errors import ConfigError

BESIDE = ("config.yaml", "result.json", "metrics.jsonl", "checkpoints", "model", "report.html")
"""What of a run's folder is of use without the rest of it."""
_KINDS = {dict: "an object", list: "a list", str: "a text", float: "a number", int: "a number", type(None): "null"}


class Damaged(ConfigError):
    """A file of a run's folder that is not as it was written."""


def damaged(path: Path, what: str, then: str = "") -> Damaged:
    """The error for a file; `then` says what can be done, else what is left beside it does."""
    if not then:
        left = [name for name in BESIDE if name != path.name and (path.parent / name).exists()]
        then = f"nothing can be done without it; still here: {', '.join(left)}" if left else "nothing is left beside it"
    return Damaged(f"{path}: {what}; {then}")


def refuse_special(path: Path) -> None:
    """Raises ConfigError for what is there and no plain file or folder: a pipe, a device or a socket has no end to read to."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    kind = kinds.get(stat.S_IFMT(mode))
    if kind is not None:
        raise ConfigError(f"{path}: {kind}, where a file is expected")


def text_of(path: Path, then: str = "") -> str | None:
    """What a text file holds; None where there is none. Raises Damaged for one that is empty or no text, or no file."""
    try:
        refuse_special(path)
        content = path.read_bytes()
    except ConfigError as error:
        raise damaged(path, str(error).partition(": ")[2], then) from None
    except (FileNotFoundError, NotADirectoryError):  # also where what would be its folder is a file
        if path.is_symlink():
            raise damaged(path, f"a link to {os.readlink(path)}, which is not there", then) from None  # noqa: PTH115
        return None
    except OSError as error:
        raise damaged(path, error.strerror or "not readable", then) from None
    if not content.strip(b"\0 \r\n\t"):
        raise damaged(path, "empty", then)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise damaged(path, f"not a text in UTF-8 (byte {error.start})", then) from None


def object_of(path: Path, then: str = "") -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none. Raises Damaged."""
    text = text_of(path, then)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise damaged(path, f"no JSON (line {error.lineno}: {error.msg})", then) from None
    except RecursionError:
        raise damaged(path, "nested too deeply", then) from None
    if not isinstance(found, dict):
        raise damaged(path, f"{kind_of(found)}, where an object is expected", then)
    return found


def mapping_of(path: Path) -> dict[str, Any] | None:
    """The YAML mapping in a file, as plain values; None where there is none. Raises Damaged."""
    import yaml

    text = yaml_of(path)
    if text is None:
        return None
    try:
        found = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise damaged(path, f"no YAML{place_of(error)}") from None
    if not isinstance(found, dict):
        raise damaged(path, f"{kind_of(found)}, where keys are expected")
    return found


def yaml_of(path: Path) -> str | None:
    """The text of a YAML file, to be parsed: one that is nested so deeply that the parser would end the process is Damaged."""
    text = text_of(path)
    if text is None or text.count("[") + text.count("{") < _DEEP:
        return text
    depth = 0
    for sign in text:
        depth += (sign in "[{") - (sign in "]}")
        if depth > _DEEP:
            raise damaged(path, "nested too deeply")
    return text


_DEEP = 500


def place_of(error: Exception) -> str:
    """Where YAML stopped, and why, in brackets."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f" (line {mark.line + 1}: {problem})" if mark is not None else ""


def kind_of(value: Any) -> str:
    """What a plain value is, in words."""
    return _KINDS.get(type(value), type(value).__name__)
