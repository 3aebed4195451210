"""`python -m launcher`: from the words on the command line to an exit status."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback

from launcher.config.flags import inspects, parse_flags, wants_traceback
from launcher.config.help import show
from launcher.search.command import sweep

from .console.terminal import fill_streams
from .errors import FAILED, REFUSED, ConfigError, LauncherError
from .process.exit import leave
from .process.garbage import begin, held_off
from .process.signals import stay

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
        from .errors import escaped

        said = f"error: {error}"
        for word in words:  # one of several lines would tear the message, where its first line alone is read
            said = said.replace(word, escaped(word)) if not word.isprintable() else said
        print("\n".join(map(printable, said.split("\n"))), file=sys.stderr)  # it may quote a file
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
    if action != "train":
        begin()
    module = importlib.import_module(f"launcher.actions.{action}")
    return int(module.act(composed.config, composed.folder, resumed))


if __name__ == "__main__":
    # Nothing here asks, and no library shall: a question at the terminal may be answered by what is piped in.
    fill_streams()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    stay()
    leave(main())
