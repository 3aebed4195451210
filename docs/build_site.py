"""Builds the pages of docs/ and CONTRIBUTING.md as a site, and serves it: `make docs-site`.

The build fails for a link or an anchor that leads nowhere, for a page that the navigation does not name, and for a page
that would ask for something outside when it is opened.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
BUILD = ROOT / "build" / "docs"
NAMES = {"../CONTRIBUTING.md": "contributing.md"}
"""Pages that lie outside docs/, by how docs/ links to them, and what they are called on the site."""
LOADED = re.compile(
    r"<(?:script|link|img|iframe|source|video|audio)\b[^>]*?\b(?:src|href)=\"?((?:https?:)?//[^\"\s>]+)"
)
"""What a browser fetches when it opens a page; the target of a plain link is not."""


def navigation(nodes: list[Any]) -> Iterator[str]:
    """The pages that a list of the navigation names, in its order."""
    for node in nodes:
        for target in node.values():
            if isinstance(target, str):
                yield target
            else:
                yield from navigation(target)


def named() -> list[str]:
    """The pages of the site, in the order to read them in."""
    return list(navigation(tomllib.loads((DOCS / "zensical.toml").read_text())["project"]["nav"]))


def orphans() -> list[str]:
    """Pages that are there and not in the navigation, and the other way round."""
    there = {page.name for page in DOCS.glob("*.md")} | set(NAMES.values())
    return sorted(there ^ set(named()))


def stage() -> None:
    """Lay the pages out as the site has them: side by side, with links that say so."""
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.copytree(DOCS, BUILD / "pages", ignore=shutil.ignore_patterns("*.py", "*.toml", "__pycache__"))
    shutil.copy(DOCS / "zensical.toml", BUILD)
    for outside, name in NAMES.items():
        text = (DOCS / outside).read_text()
        (BUILD / "pages" / name).write_text(text.replace("](docs/", "]("))
        for page in (BUILD / "pages").glob("*.md"):
            page.write_text(page.read_text().replace(f"]({outside}", f"]({name}"))


def outside_requests() -> list[str]:
    """What the built pages would fetch from elsewhere: "page: address"."""
    pages = sorted((BUILD / "site").rglob("*.html"))
    return [f"{page.name}: {address}" for page in pages for address in LOADED.findall(page.read_text())]


def build() -> None:
    """Build the site into build/docs/site. Ends the program with a message where something is wrong."""
    if lost := orphans():
        sys.exit(f"docs/zensical.toml, in nav: {', '.join(lost)} is there and not named, or named and not there")
    stage()
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    if subprocess.run(command, cwd=BUILD).returncode:
        sys.exit("the site was not built: see above")
    if fetched := outside_requests():
        sys.exit("\n".join(["the pages ask for something outside:", *fetched]))


def serve(port: int) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(BUILD / "site"))
    with http.server.ThreadingHTTPServer(("localhost", port), handler) as server:
        print(f"http://localhost:{server.server_port}/index.html (Ctrl-C ends it)", flush=True)
        server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build-only", action="store_true", help="build, and do not serve")
    parser.add_argument("--port", type=int, default=8000, help="where to serve; 0 takes any that is free")
    arguments = parser.parse_args()
    build()
    if not arguments.build_only:
        with contextlib.suppress(KeyboardInterrupt):
            serve(arguments.port)


if __name__ == "__main__":
    main()
