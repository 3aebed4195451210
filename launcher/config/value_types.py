"""Whether a plain value is of a type, and what to say where it is not.

A type is a list of alternatives: `int`, `float`, `bool`, `str`, `none`, `dict`, `object`, `list`, `list[float]`,
`list[float]2` (of two), a number within bounds as `int[1,inf)`, a word as `'linear'`. No alternatives: anything goes.
"""

from __future__ import annotations

import math
import re
from typing import Any

from launcher.errors import nearest

_NUMBER = re.compile(r"(int|float)([\[(])([^,]+),([^\])]+)([\])])")
_LIST = re.compile(r"list\[(.*)\](\d*)")
_WORDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "none": "null",
    "list": "a list", "dict": "a mapping", "object": "a node with a _target_",
}  # fmt: skip
_PLURAL = {"int": "whole numbers", "float": "numbers", "str": "texts", "bool": "truth values", "dict": "mappings"}


def matches(value: Any, alternatives: list[str]) -> bool:
    """Whether a plain value is one of a type's alternatives; a node with a `_target_` is taken to be right."""
    node = isinstance(value, dict) and "_target_" in value
    return not alternatives or node or any(_matches(value, each) for each in alternatives)


def _matches(value: Any, alternative: str) -> bool:
    number = _NUMBER.fullmatch(alternative)
    if number:
        kind, opening, low, high, closing = number.groups()
        if not _matches(value, kind) or math.isnan(value):
            return False
        above = value >= float(low) if opening == "[" else value > float(low)
        return bool(above and (value <= float(high) if closing == "]" else value < float(high)))
    entries = _LIST.fullmatch(alternative)
    if entries:
        kind, num = entries.groups()
        return (
            isinstance(value, list)
            and (not num or len(value) == int(num))
            and all(_matches(each, kind) for each in value)
        )
    if alternative.startswith(("'", '"')):
        return isinstance(value, str) and repr(value) == alternative
    if alternative in ("int", "float"):
        return isinstance(value, int if alternative == "int" else int | float) and not isinstance(value, bool)
    plain: dict[str, type] = {"bool": bool, "str": str, "none": type(None), "dict": dict, "list": list}
    return alternative in plain and isinstance(value, plain[alternative])


def expected(alternatives: list[str], value: Any = None) -> str:
    """The alternatives in words; for a text that is none of the known words, the nearest of them too."""
    words = [each[1:-1] for each in alternatives if each[0] in "'\""]
    others = [_words(each) for each in alternatives if each[0] not in "'\"" and each != "object"]
    close = nearest(value, words) if isinstance(value, str) else []
    if len(words) > 8 and close:
        words = close
    return f"expected {' or '.join(([', '.join(words)] if words else []) + others)}"


def _words(alternative: str) -> str:
    number = _NUMBER.fullmatch(alternative)
    if number:
        kind, opening, low, high, closing = number.groups()
        if low == high:
            return low
        lower = None if low == "-inf" else f"{'at least' if opening == '[' else 'above'} {float(low):g}"
        upper = None if high == "inf" else f"{'at most' if closing == ']' else 'below'} {float(high):g}"
        return " ".join(filter(None, (_WORDS[kind], " and ".join(filter(None, (lower, upper))))))
    entries = _LIST.fullmatch(alternative)
    if entries:
        kind, num = entries.groups()
        return f"a list of {num and num + ' '}{_PLURAL.get(kind, 'lists')}"
    return _WORDS[alternative]
