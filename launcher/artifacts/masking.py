"""What looks like a secret, and how a text is written without it.

A secret is told by its key (`api_key`), by its form (a login in an address, a token of a known make), and by its value:
what an environment variable with such a name holds. A config that holds one is refused; in what is written of the
command, the environment and the code, `***` stands in its place.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

MASK = "***"
FREE = ("name", "notes", "tags")
"""The keys of a config that hold a person's own words."""
SHORTEST = 8
"""The characters of a variable's value below which it may be any word."""

_KEY = re.compile(
    r"(.*_)?(api_?key|access_key|secret_key|private_key|password|passwd|secret|credentials?|(api|auth|access|bearer|hf|hub|refresh)_token)|token",
    re.IGNORECASE,
)
_VARIABLE = re.compile(
    r"SECRET|TOKEN|PASSW(OR)?D|PASSPHRASE|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE
)
_NO_SECRET = re.compile(r"_(FILE|PATH|DIR|URL|ID)$", re.IGNORECASE)
_LOGIN = re.compile(r"(://[^/@\s:]*:)[^/\s]*(?=@)")
_USER = re.compile(r"(://)[^/@\s:]{20,}(?=@)")  # of an address without a password: a token, of that length
_QUERY = re.compile(
    r"([?&;](?:\w*password|passwd|pwd|\w*token|api_?key|access_?key|key|\w*secret|sig|signature)=)[^&;\s'\"#]+",
    re.IGNORECASE,
)
_TOKENS = re.compile(
    r"\b(?:sk-[\w-]{20,}|gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|npm_\w{20,}"
    r"|xox[abeoprs]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)"
    r"|(?<=\bBearer )[\w.~+/=-]{16,}|(?<=\bBasic )[\w+/=]{16,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----)?",
    re.DOTALL,
)
_ASSIGNED = (
    re.compile(r"^([+ -]?\s*(?:export\s+)?[A-Z0-9_]*(?:SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CREDENTIAL)[A-Z0-9_]*\s*=\s*)\S.*$", re.MULTILINE),
    re.compile(r"(\b\w*(?:secret|token|password|passwd|api_?key|access_key)[\"']?\s*[:=]\s*)(?:\"[^\"\n]{6,}\"|'[^'\n]{6,}')", re.IGNORECASE),
)  # fmt: skip
_asked: list[str] = []
"""The environment variables that interpolations have taken."""


def register() -> None:
    """Have `${oc.env:…}` keep which variables it was asked for; twice does no harm."""
    from omegaconf import OmegaConf
    from omegaconf.resolvers import oc

    def env(key: str, *default: Any) -> Any:
        if key in os.environ:
            _asked.append(key)
        return oc.env(key, *default)

    OmegaConf.register_resolver("oc.env", env, replace=True)


@contextlib.contextmanager
def asked() -> Iterator[list[str]]:
    """The variables that are taken meanwhile."""
    before = len(_asked)
    found: list[str] = []
    try:
        yield found
    finally:
        found += dict.fromkeys(_asked[before:])
        del _asked[before:]


def mask(text: str) -> str:
    """A text without what looks like a secret in it."""
    for pattern in (_LOGIN, _USER, _QUERY):
        text = pattern.sub(rf"\1{MASK}", text)
    text = _TOKENS.sub(MASK, text)
    for value in _held():
        text = text.replace(value, MASK)
    return text


def mask_code(text: str) -> str:
    """Code, or a patch of it, without what is given to a name that looks like a secret's either."""
    for pattern in _ASSIGNED:
        text = pattern.sub(rf"\1{MASK}", text)
    return mask(text)


def _held() -> list[str]:
    """The values of the variables that look like secrets, the longest first; of paths and addresses nothing is said."""
    found = {
        value
        for name, value in os.environ.items()
        if len(value) >= SHORTEST
        and _VARIABLE.search(name)
        and not _NO_SECRET.search(name)
        and not value.startswith("/")
    }
    return sorted(found, key=len, reverse=True)


def secrets(node: Any, path: str = "") -> list[str]:
    """The keys of a config that hold what looks like a secret."""
    if isinstance(node, dict):
        entries = [(str(key), value) for key, value in node.items()]
    elif isinstance(node, list):
        entries = [(str(index), value) for index, value in enumerate(node)]
    else:
        return []
    found = []
    for key, value in entries:
        full = f"{path}.{key}" if path else key
        if mask(key) != key:
            found.append(f"a key of {path or 'the config'}")
        elif isinstance(value, dict | list):
            found += secrets(value, full)
        elif value is None or isinstance(value, bool) or value == "":
            continue
        elif _KEY.fullmatch(key) or (isinstance(value, str) and mask(value) != value):
            found.append(full)
    return found
