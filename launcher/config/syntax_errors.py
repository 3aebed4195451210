"""Overrides that Hydra's grammar does not read, said in our words, with how they are written instead."""

from __future__ import annotations

import re
import shlex

from launcher.errors import did_you_mean, escaped

_PLAIN = re.compile(r"[\w./:-]+", re.ASCII)
_IN_QUOTES = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*""")
_ELEMENT = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^][(){}'",])*""")
"""An element of a list: words and texts in quotes."""
_CALL = re.compile(
    r"\w+ while evaluating '(?P<call>.*?)': (?P<why>[^\n]*)(?:\nAvailable: (?P<names>[\w,]+))?", re.DOTALL
)
"""What Hydra says of a function of its own in a value."""


def syntax(line: str, error: BaseException | None = None) -> str:
    """An override that can not be read; `error` is what Hydra raised for it, where it did."""
    key, equals, value = line.partition("=")
    if line.startswith("=") or (equals and not re.search(r"\w", key.partition("@")[0])):
        return f"{line}: expected key=value; the key is missing"
    if not equals:
        return f"{line}: expected key=value, such as optimizer.lr=0.01, or group=option, such as optimizer=adamw"
    if not re.fullmatch(r"[+~]*[\w./@:$-]+", key):
        return (
            f"{line}: {key!r} can not be a key: keys are words with dots between them, and there is no space around '='"
        )
    if key.lstrip("+~").startswith("/"):
        return f"{line}: no key begins with '/': {line.replace('/', '', 1)}"
    found = _CALL.search(str(error)) if error is not None else None
    if found is None:
        said = f"the value can not be read{_unbalanced(value)}"
    elif found["names"]:
        name = found["call"].partition("(")[0]
        said = f"there is no function {name!r}.{did_you_mean(name, found['names'].split(','))}".rstrip(".?")
    else:
        said = f"{escaped(found['call'])}: {found['why']}"
    return f"{line}: {said}; a text with special characters needs quotes: {in_shell(f'{key}={_quoted(value)}')}"


def in_shell(word: str) -> str:
    """A word as it is typed into a shell."""
    if not word.isprintable():
        return "$'" + escaped(word.replace("\\", "\\\\").replace("'", "\\'")) + "'"
    return shlex.quote(word) if "'" in word else f"'{word}'"


def _quoted(value: str) -> str:
    """A value in quotes; of a list, each element that needs them."""
    elements = _elements(value[1:-1]) if value.startswith("[") and value.endswith("]") else None
    if elements is None:
        return _text(value)
    return f"[{','.join(each if _PLAIN.fullmatch(each) or _IN_QUOTES.fullmatch(each) else _text(each) for each in elements)}]"


def _elements(inside: str) -> list[str] | None:
    """The elements of a list, without those that are empty; None where it is no list of words and texts."""
    found, at = [], 0
    while True:
        match = _ELEMENT.match(inside, at)
        assert match is not None  # an element may be empty
        found.append(match[0].strip())
        at = match.end()
        if at == len(inside):
            return [each for each in found if each]
        if inside[at] != ",":
            return None
        at += 1


def _text(value: str) -> str:
    """A text as Hydra reads it in quotes: a backslash is itself there, except in a row of them that ends at a quote."""
    quote = "'" if '"' in value and "'" not in value else '"'
    inside = re.sub(rf"(\\*)({quote}|\Z)", lambda row: row[1] * 2 + (f"\\{quote}" if row[2] else ""), value)
    return f"{quote}{inside}{quote}"


def _unbalanced(value: str) -> str:
    for pair in ("[]", "{}", "()"):
        if value.count(pair[0]) != value.count(pair[1]):
            return f": {pair[0]!r} and {pair[1]!r} do not match"
    for quote in ("'", '"'):
        if value.count(quote) % 2:
            return f": the quote {quote} is not closed"
    return ""
