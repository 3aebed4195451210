"""Text that every Python brings along: the sources of its standard library."""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path
from typing import ClassVar

import numpy as np

from launcher.errors import ConfigError

from .kinds import Corpus, Texts

LEFT_OUT = frozenset(
    {
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "idlelib",
        "lib2to3",
        "turtledemo",
        "tkinter",
        "__pycache__",
        "ensurepip",
    }
)
"""Folders that are not the library itself, or that some distributions leave out."""

PACKAGES = (
    "asyncio",
    "concurrent",
    "ctypes",
    "email",
    "encodings",
    "http",
    "importlib",
    "json",
    "logging",
    "multiprocessing",
    "unittest",
    "urllib",
    "xml",
)


def sources() -> list[tuple[str, Path]]:
    """The library's Python files as (relative path with slashes, path), in the order of the former. Raises ConfigError."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = [
        (path.relative_to(root).as_posix(), path)
        for path in root.rglob("*.py")
        if not LEFT_OUT.intersection(part for part in path.relative_to(root).parts) and path.is_file()
    ]
    if not found:
        raise ConfigError(f"this Python has no sources of its standard library under {root}; use data=files")
    return sorted(found)


def read_source(path: Path) -> str:
    """A file's text with line ends as "\\n"; bytes that are not UTF-8 are replaced."""
    return path.read_text(encoding="utf-8", errors="replace")


class InMemory:
    """Documents that are a list of strings."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, rows: np.ndarray) -> list[str]:
        return [self.texts[row] for row in rows.tolist()]


class Stdlib:
    """A corpus: a document a file, up to `max_bytes` in all, drawn from the whole library.

    Raises ConfigError where the sources are not installed or `max_bytes` is not positive.
    """

    kind: ClassVar[str] = "corpus"

    def __init__(self, max_bytes: int = 500_000) -> None:
        if max_bytes <= 0:
            raise ConfigError(f"data.max_bytes={max_bytes}: expected a positive number of bytes")
        self.max_bytes = max_bytes

    def corpus(self) -> Corpus:
        chosen: list[tuple[str, str]] = []
        total = 0
        for name, path in sorted(sources(), key=lambda source: _draw(source[0])):
            text = read_source(path)
            size = len(text.encode())
            if not size or total + size > self.max_bytes:
                continue  # a smaller file may still fit
            chosen.append((name, text))
            total += size
        if len(chosen) < 2:
            raise ConfigError(
                f"data.max_bytes={self.max_bytes} leaves {len(chosen)} file(s) of the standard library; expected two at least"
            )
        texts = [text for _, text in sorted(chosen)]
        digest = hashlib.blake2b(digest_size=16)
        for text in texts:
            digest.update(f"{len(text)}:".encode() + text.encode())
        return Corpus(InMemory(texts), digest.hexdigest())


class StdlibSnippets:
    """Which package of the standard library does a snippet come from?

    A snippet is `num_lines` lines in a row that hold something, none in two snippets, at most `max_per_file` from a
    file and none that stands in another file too. Each class has the same number of snippets, at most
    `max_per_class`; a file is a group, so that no file is on both sides of a split.

    Raises ConfigError where the installed sources give fewer than two classes.
    """

    kind: ClassVar[str] = "texts"

    def __init__(
        self, num_lines: int = 8, max_per_file: int = 40, max_per_class: int = 400, min_per_class: int = 200
    ) -> None:
        if num_lines < 1 or max_per_file < 1 or not 1 <= min_per_class <= max_per_class:
            raise ConfigError(
                "data=stdlib_snippets: num_lines and max_per_file are at least 1, and 1 <= min_per_class <= max_per_class"
            )
        self.num_lines, self.max_per_file = num_lines, max_per_file
        self.max_per_class, self.min_per_class = max_per_class, min_per_class

    def texts(self) -> Texts:
        by_package: dict[str, list[tuple[str, str]]] = {}
        seen: set[str] = set()
        for name, path in sources():
            package = name.partition("/")[0]
            if package not in PACKAGES or "/" not in name:
                continue
            for snippet in self._snippets(name, read_source(path)):
                if snippet not in seen:
                    seen.add(snippet)
                    by_package.setdefault(package, []).append((name, snippet))
        kept = {package: found for package, found in sorted(by_package.items()) if len(found) >= self.min_per_class}
        if len(kept) < 2:
            raise ConfigError(
                "the sources of this Python's standard library give too few snippets; lower data.min_per_class or use data=files"
            )
        share = min(self.max_per_class, *map(len, kept.values()))
        rows = [
            (name, snippet, label)
            for label, found in enumerate(kept.values())
            for name, snippet in sorted(sorted(found, key=lambda row: _draw(*row))[:share])
        ]
        files = {name: number for number, name in enumerate(dict.fromkeys(name for name, _, _ in rows))}
        return Texts(
            texts=[snippet for _, snippet, _ in rows],
            labels=np.array([label for _, _, label in rows], dtype=np.int64),
            classes=list(kept),
            groups=np.array([files[name] for name, _, _ in rows], dtype=np.int64),
        )

    def _snippets(self, name: str, text: str) -> list[str]:
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        whole = [
            "\n".join(lines[start : start + self.num_lines])
            for start in range(0, len(lines) - self.num_lines + 1, self.num_lines)
        ]
        return sorted(whole, key=lambda snippet: _draw(name, snippet))[: self.max_per_file]


def _draw(*what: str) -> bytes:
    """A number that orders things at random and the same way everywhere."""
    return hashlib.blake2b("\0".join(what).encode("utf-8", "surrogatepass"), digest_size=8).digest()
