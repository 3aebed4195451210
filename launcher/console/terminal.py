"""What a console draws on: plain lines, or a terminal with one live line at its end."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from .numbers import printable, share

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

Words = list[tuple[str, str]]
"""A line as (text, role), the roles being those of `STYLES`. On a narrow terminal the faint words are left out, then the
last ones; of a line of words that are not, the first two stay, on two lines if need be: a value with what it is of."""
STYLES = {
    "": "",
    "faint": "dim",
    "good": "bold green",
    "bad": "bold red",
    "warning": "yellow",
    "title": "bold",
    "bar": "cyan",
}
QUIET_S = 30.0
"""In plain output a line of progress comes at the latest after this long, or after a fiftieth of the time so far."""
GAP = "  "


class Look(Protocol):
    """A look at what goes on. `share` of it is done, of which nothing is known where None; it began `elapsed` seconds ago."""

    elapsed: float
    share: float | None

    def words(self) -> list[str]:
        """What is said, the most important first."""

    def rows(self) -> list[Words]:
        """Lines above the bar, on a terminal alone."""


class Surface(Protocol):
    interval_s: float
    """How often to look at a run."""

    def line(self, words: Words) -> None:
        """A permanent line."""

    def table(self, rows: list[tuple[str, str]], role: str = "") -> None:
        """Permanent labelled lines; with a role, the first of them stands out in it."""

    def commands(self, rows: list[tuple[str, str]]) -> None:
        """Permanent labelled lines to be copied: never broken."""

    def progress(self, view: Look) -> None:
        """How far a run, or a sweep, is."""

    def stop(self) -> None:
        """No more progress: leave everything as it was found."""

    def forked(self) -> None:
        """This process is a child of the one that draws."""


def fill_streams() -> None:
    """Gives a process that was started without one of its three streams (`>&-`) one that leads nowhere.

    Else the next file that is opened would be that stream by its number, and what a library prints would go into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def is_terminal(stream: TextIO) -> bool:
    """Whether a line can be drawn over: a terminal, not a dumb one, and not one that CI keeps as a log."""
    if os.environ.get("TERM", "dumb") in ("", "dumb", "unknown") or os.environ.get("CI"):
        return False
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def spelled(text: str, stream: TextIO) -> str:
    """The text without control characters, in signs that the stream's encoding has."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    clean = printable(text)
    try:
        clean.encode(encoding)
    except UnicodeEncodeError:
        for sign, ascii_sign in (("±", "+/-"), ("…", "..."), ("·", "-"), ("×", "x")):
            clean = clean.replace(sign, ascii_sign)
        clean = clean.encode(encoding, "backslashreplace").decode(encoding)
    return clean


LEAST = 12
"""A word is not cut shorter than this."""


class Plain:
    """Lines without control codes, for files, pipes, SLURM's logs and CI."""

    interval_s = 1.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said_at = time.monotonic()
        self._said_share = 0.0

    def line(self, words: Words) -> None:
        self._said_at = time.monotonic()
        self._stream.write(spelled(GAP.join(text for text, _ in words), self._stream).rstrip() + "\n")
        self._stream.flush()

    def table(self, rows: list[tuple[str, str]], role: str = "") -> None:
        width = max((len(label) for label, _ in rows), default=0)
        for label, text in rows:
            self.line([(f"{label:<{width}}", ""), (text, "")])

    def commands(self, rows: list[tuple[str, str]]) -> None:
        self.table(rows)

    def progress(self, view: Look) -> None:
        """After every tenth of the run, not within five seconds of another line; else when it was quiet for long."""
        quiet, done = time.monotonic() - self._said_at, view.share or 0.0
        if (done - self._said_share >= 0.1 and quiet >= 5) or quiet >= max(QUIET_S, view.elapsed / 50):
            self._said_share = done
            self.line([(f"{share(done):>4}", "")] * (view.share is not None) + [(word, "") for word in view.words()])

    def stop(self) -> None:
        self._said_share = 0.0

    def forked(self) -> None:
        return


class Terminal:
    """Permanent lines with a live one below them, through rich.

    The cursor is never hidden: so a run that is killed leaves nothing that would have to be put right.
    What other code prints while the line is there comes above it.
    """

    interval_s = 0.25

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        class Steady(Console):
            def show_cursor(self, show: bool = True) -> bool:
                return False

            def on_broken_pipe(self) -> None:
                raise BrokenPipeError

        self._stream = stream
        self._console = Steady(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._before = (sys.stdout, sys.stderr)
        self._ascii = not self._console.encoding.startswith("utf")

    def line(self, words: Words) -> None:
        self._console.print(self._text(words))

    def table(self, rows: list[tuple[str, str]], role: str = "") -> None:
        from rich import box
        from rich.table import Table

        table = Table(box=box.ROUNDED, show_header=False, border_style="dim") if role else Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for index, (label, text) in enumerate(rows):
            style = STYLES[role] if role and index == 0 else ""
            table.add_row(self._text([(label, "")], style), self._text([(text, "")]), style=style)
        self._console.print(table)

    def commands(self, rows: list[tuple[str, str]]) -> None:
        width = max((len(label) for label, _ in rows), default=0)
        for label, text in rows:
            words = [(f"{label:<{width}}", "faint"), (text, "")]
            self._console.print(self._text(words, fit=False), soft_wrap=True)

    def progress(self, view: Look) -> None:
        from rich.live import Live

        if self._live is None:
            self._before = (sys.stdout, sys.stderr)
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=is_terminal(sys.stdout),
                redirect_stderr=is_terminal(sys.stderr),
            )
            self._live.start()
        self._live.update(self._drawn(view), refresh=True)

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def forked(self) -> None:
        if self._live is not None:
            sys.stdout, sys.stderr = self._before

    def _drawn(self, view: Look) -> Text | Group:
        """The bar, below as many rows as there is room for, their words in columns."""
        rows = view.rows()[: max(0, self._console.height - 3)]
        if not rows:
            return self._bar(view)
        from rich.console import Group

        widths = [max(len(text) for text, _ in column) for column in zip(*rows, strict=True)]
        aligned = [
            self._text([(f"{text:<{width}}", role) for (text, role), width in zip(row, widths, strict=True)], cut=True)
            for row in rows
        ]
        for line in aligned:
            line.rstrip()
        return Group(*aligned, self._bar(view))

    def _bar(self, view: Look) -> Text:
        words = view.words()
        room = self._console.width - 1 - len("100%" + GAP) * (view.share is not None)
        while len(words) > 1 and len(GAP.join(words)) + (8 if len(words) > 2 else 0) > room:
            words.pop()  # the first two are worth more than a bar
        said: Words = [(word, "") for word in words]
        if view.share is None:
            return self._text(said)
        length = min(30, room - len(GAP.join(words)) - len(GAP))
        done = int(length * view.share)
        full, empty = ("#", ".") if self._ascii else ("━", "─")
        bar: Words = [] if length < 6 else [(full * done, "bar"), (empty * (length - done), "faint")]
        return (
            self._text(bar, gap="")
            .append(GAP if bar else "")
            .append(self._text([(f"{share(view.share):>4}", ""), *said]))
        )

    def _text(self, words: Words, style: str = "", gap: str = GAP, fit: bool = True, cut: bool = False) -> Text:
        """The words in their styles; those that the width has no room for are left out from the end, or with `cut` the first of
        them is shortened to what there is."""
        from rich.text import Text

        spelt = [(spelled(text, self._stream), role) for text, role in words]
        while fit and len(spelt) > 1 and len(gap.join(text for text, _ in spelt).rstrip()) > self._console.width:
            faint = [index for index, (_, role) in enumerate(spelt) if role == "faint" and index and not cut]
            if not faint and not cut and len(spelt) == 2:
                break
            last, role = spelt.pop(faint[-1] if faint else -1)
            room = self._console.width - sum(len(text) + len(gap) for text, _ in spelt)
            if cut and LEAST <= room < len(last):
                spelt.append((last[: room - 3].rstrip() + "...", role))
        text = Text(style=style)
        for index, (word, role) in enumerate(spelt):
            text.append(gap if index else "").append(word, STYLES[role])
        return text
