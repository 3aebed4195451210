"""The errors that reach a person, and the words that come nearest to what they typed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

DONE, FAILED, REFUSED, PREEMPTED = 0, 1, 2, 75
"""Exit statuses: finished · the training failed · the configuration is wrong · preempted, resume me."""


class LauncherError(Exception):
    """An error whose message is written for the person at the terminal: printed alone, without a traceback."""

    exit_status = FAILED


class ConfigError(LauncherError):
    """The configuration, the data or the command is wrong; nothing was started."""

    exit_status = REFUSED


class NotNow(ConfigError):
    """A cluster does not answer, or takes no more for the moment (`full`): the same request may do in a while."""

    def __init__(self, text: str, full: bool = False) -> None:
        super().__init__(text)
        self.full = full


class TrainingError(LauncherError):
    """The training was started and cannot go on; the last good checkpoint stays."""


class WorkerLost(TrainingError):
    """A worker died, raised what nobody expected, or never came to a collective: another start may do better."""


class NodeLost(WorkerLost):
    """A node of the run's job is gone, with its workers: another start may do better, on other nodes."""

    exit_status = PREEMPTED


def nearest(word: str, words: Iterable[str], num: int = 3) -> list[str]:
    """The up to `num` entries of `words` that look most like `word`, best first."""
    pool = sorted(set(words) - {word})
    lowered = {entry.lower(): entry for entry in reversed(pool)}
    found = difflib.get_close_matches(word.lower(), lowered, n=num, cutoff=0.55)
    return [lowered[entry] for entry in found]


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A sentence that offers the nearest words, or all of them where there are few, or nothing."""
    pool = sorted(set(words))
    close = nearest(word, pool)
    if close:
        return f" Did you mean {' or '.join(repr(entry) for entry in close)}?"
    if pool and len(pool) <= 40:
        return f" There are: {', '.join(pool)}."
    return ""


def escaped(text: str) -> str:
    """The text on one line, its line ends and other control characters as they are written in code: \\n."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def beginning(text: object, most: int = 300) -> str:
    """The first words of what a library says, on one line; three dots say that there was more."""
    whole = " ".join(str(text).split())
    return whole if len(whole) <= most else f"{whole[:most].rpartition(' ')[0] or whole[:most]} ..."
