"""`make dashboard`: TensorBoard over a folder's runs and optuna-dashboard over its sweeps, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from launcher.artifacts.sweep import FACTS
from launcher.console.console import Console
from launcher.errors import ConfigError, LauncherError
from launcher.report.sweep_page import facts_of

PLACES = ("outputs", "multirun")
SHOWN = 10
"""So many sweeps are served, the newest; those of one database together."""
HOST = "127.0.0.1"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are nobody's news."""


def serve(folder: Path) -> Iterator[tuple[str, str]]:
    """Start the servers, each on a free port of this machine alone; gives (what it shows, its URL).

    Raises ConfigError where there is nothing to show, or a package is missing.
    """
    places = [place for place in PLACES if (folder / place).is_dir()]
    events = any(next((folder / place).rglob("events.out.tfevents.*"), None) for place in places)
    sweeps = sorted((folder / "multirun").glob(f"*/{FACTS}"), key=lambda path: -path.stat().st_mtime)
    if not events and not sweeps:
        raise ConfigError(f"{folder.absolute()}: no run with curves is under {' or '.join(PLACES)}, and no sweep")
    if events:
        yield f"runs under {' and '.join(places)}", _tensorboard([folder / place for place in places])
    for name, storage in _storages([path.parent for path in sweeps[:SHOWN]]):
        yield name, _optuna(storage)


def _tensorboard(places: list[Path]) -> str:
    from tensorboard import program  # type: ignore[import-untyped]  # it ships no types

    board = program.TensorBoard()
    spec = ",".join(f"{place.name}:{place.absolute()}" for place in places)
    board.configure(argv=["tensorboard", "--logdir_spec", spec, "--host", HOST, "--port", "0"])
    url: str = board.launch()
    return url


def _storages(folders: list[Path]) -> Iterator[tuple[str, Any]]:
    """Each storage that the sweeps are kept in, once, with the names of its sweeps."""
    from launcher.search.study.storage import open_storage

    by_url: dict[str, list[Path]] = {}
    for folder in folders:
        url = (facts_of(folder) or {}).get("storage")
        by_url.setdefault(url or str(folder), []).append(folder)
    for url, own in by_url.items():
        storage = open_storage(None if url == str(own[0]) else url, own[0])
        yield f"sweep{'s' if len(own) > 1 else ''} {', '.join(path.name for path in own)}", storage


def _optuna(storage: Any) -> str:
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise ConfigError("optuna-dashboard is not installed: pip install optuna-dashboard") from error
    server = make_server(HOST, 0, wsgi(storage), _Server, _Quiet)
    threading.Thread(target=server.serve_forever, name="optuna-dashboard", daemon=True).start()
    return f"http://{HOST}:{server.server_port}/"


def main(words: list[str]) -> int:
    """Serve the folder named by the only word, or the current one; returns the exit status."""
    console, over = Console(), threading.Event()
    try:
        if len(words) > 1:
            raise ConfigError("usage: python -m launcher.search.dashboard [FOLDER]")
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: over.set())
        for what, url in serve(Path(words[0] if words else ".")):
            console.message(f"{what}: {url}")
    except LauncherError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # it speaks to a terminal
        return error.exit_status
    console.message("Ctrl-C ends them")
    over.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
