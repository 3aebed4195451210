"""The files below a folder, and the classes that its subfolders are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launcher.errors import ConfigError

JUNK = frozenset({"Thumbs.db", "ehthumbs.db", "desktop.ini", "__MACOSX"})
"""What systems leave beside a person's files, without a dot in front."""
TRAINING = frozenset({"train", "training"})
SPLITS = TRAINING | {"test", "testing", "val", "valid", "validation", "dev", "eval"}
MANY = 20
"""Names that are told one by one, at most."""


@dataclass
class Found:
    """Files, and what was passed over, in words."""

    files: list[Path]
    left_out: list[str] = field(default_factory=list)


@dataclass
class Classified(Found):
    """Files with the class of each."""

    classes: list[str] = field(default_factory=list)


def below(root: Path) -> Found:
    """All files below a folder, links followed, in the order of their names; hidden ones and what systems leave there are
    passed over."""
    files: list[Path] = []
    hidden = 0
    seen: set[str] = set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        kept = [name for name in names if not _is_hidden(name)]
        hidden += len(names) - len(kept)
        inside = sorted(name for name in folders if not _is_hidden(name))
        hidden += len(folders) - len(inside)
        folders[:] = inside
        files += [Path(place) / name for name in kept]
    return Found(sorted(files), [f"{hidden} hidden"] if hidden else [])


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in JUNK


def of_endings(found: Found, endings: Iterable[str]) -> Found:
    """Those files whose endings are known; of the others it is told how many there are of each ending."""
    known = frozenset(endings)
    others = Counter(file.suffix.lower() or file.name for file in found.files if file.suffix.lower() not in known)
    said = [f"{num} {ending}" for ending, num in sorted(others.items())]
    files = [file for file in found.files if file.suffix.lower() in known]
    return Found(files, found.left_out + (said if len(said) <= MANY else [f"{others.total()} of other endings"]))


def by_class(root: Path, found: Found) -> Classified:
    """The files in folders, each with its class: the folder of the first level that it lies in, however deep it lies there.

    Where that is one folder alone, its subfolders are the classes. Where the first level is splits (`train`, `test`, …) in
    which nothing lies but folders, those of `train` are, and the others are left out. Files in no folder have no class.
    Raises ConfigError where there are splits and none is for training.
    """
    files, left_out = found.files, list(found.left_out)
    while True:
        parts = {file: file.relative_to(root).parts for file in files}
        tops = sorted({each[0] for each in parts.values() if len(each) > 1})
        loose = [file for file, each in parts.items() if len(each) == 1]
        deep = all(len(each) > 2 for each in parts.values())
        if not tops or not deep or (len(tops) > 1 and not {top.lower() for top in tops} <= SPLITS):
            break
        training = tops if len(tops) == 1 else [top for top in tops if top.lower() in TRAINING]
        if len(training) != 1:
            raise ConfigError(
                f"data.path={root}: holds the splits {', '.join(tops)}, and not one that is for training; data.path={root / tops[0]} reads one"
            )
        for top in tops:
            if top != training[0]:
                num = sum(each[0] == top for each in parts.values())
                left_out.append(f"{num} in {top}/, which is a split beside {training[0]}/")
        files = [file for file in files if parts[file][0] == training[0]]
        root = root / training[0]
    if loose and tops:
        left_out.append(f"{len(loose)} in no folder of a class")
    if tops and (empty := _without(root, tops)):
        left_out.append(f"empty: {', '.join(empty)}")
    kept = [file for file in files if len(parts[file]) > 1]
    return Classified(kept, left_out, [parts[file][0] for file in kept])


def _without(root: Path, tops: Sequence[str]) -> list[str]:
    """Folders beside the classes in which nothing was found."""
    return sorted(
        entry.name
        for entry in root.iterdir()
        if entry.is_dir() and not _is_hidden(entry.name) and entry.name not in tops
    )


def counted(classes: Sequence[str]) -> str:
    """How many there are of each class, in words."""
    counts = Counter(classes)
    said = [f"{name if name == name.strip() else repr(name)} {num}" for name, num in sorted(counts.items())]
    more = f", … {len(said)} classes" if len(said) > MANY else ""
    return ", ".join(said[:MANY]) + more


def alike(classes: Sequence[str]) -> list[str]:
    """What is to be told of classes whose names differ in case or in spaces alone."""
    by_word: dict[str, list[str]] = {}
    for name in classes:
        by_word.setdefault(" ".join(name.split()).casefold(), []).append(name)
    return [f"classes that look alike: {', '.join(map(repr, each))}" for each in by_word.values() if len(each) > 1]
