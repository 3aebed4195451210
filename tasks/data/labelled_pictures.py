"""Pictures with their labels: from folders, a list of them, or columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.errors import ConfigError

from ..base import encode_labels
from .columns import labels
from .folders import MANY, Classified, below, by_class, counted, of_endings
from .kinds import Images
from .picture_check import Broken, look_through
from .pictures import ArrowPictures, FilePictures
from .readers import find, read
from .records import of_dataset

if TYPE_CHECKING:
    from datasets import Dataset

LISTS = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"


def of_folder(
    root: Path, label: str, size: int, channels: int, classes: Any, broken: Broken, path: str
) -> tuple[Images, list[str]]:
    """The pictures of a folder with a folder for each class, or with a list of them (`metadata.csv` with the columns
    `file_name` and `label`), and what is to be told of that. Raises ConfigError where there is neither."""
    whole = below(root)
    if not whole.files:
        raise ConfigError(f"data.path={path}: the folder is empty")
    listed = next((root / name for name in LISTS if root / name in whole.files), None)
    found = None if listed is None else _of_list(root, listed, label)
    if found is None:
        found = by_class(root, of_endings(whole, _endings()))
    if not found.files:
        raise ConfigError(
            f"data.path={path}: pictures are expected in a folder for each class, such as {root / 'cat' / '1.png'}{_left_out(found.left_out)}"
        )
    pictures = FilePictures(found.files, size, channels)
    wrong, pixels = look_through(pictures, broken, "; data.broken=leave_out takes the others")
    kept = [row for row in range(len(found.files)) if row not in wrong]
    names = [found.classes[row] for row in kept]
    numbers, known = encode_labels(names, classes, lambda row: str(found.files[kept[row]]))
    notes = [f"read: {len(kept)} pictures: {counted(names)}{_left_out(found.left_out)}"]
    notes += [f"left out: {said}" for _, said in sorted(wrong.items())[:MANY]]
    if pixels is not None:
        return Images(pixels[kept] if wrong else pixels, numbers, known), notes
    return Images(FilePictures([found.files[row] for row in kept], size, channels, pictures.top), numbers, known), notes


def of_column(
    dataset: Dataset,
    column: str,
    label: str,
    size: int,
    channels: int,
    where: Callable[[int], str],
    source: str,
) -> Images:
    """A column of pictures and one of labels. Raises ConfigError for a row that is no picture."""
    rest = of_dataset(dataset.select_columns([name for name in dataset.column_names if name != column]))
    numbers, names = labels(rest, "data.label", label, None, where, source)
    pictures = ArrowPictures(dataset, column, size, channels)
    _, pixels = look_through(pictures, "refuse")
    return Images(pictures if pixels is None else pixels, numbers, names)


def _endings() -> Sequence[str]:
    from PIL import Image

    return [ending for ending, format in Image.registered_extensions().items() if format in Image.OPEN]


def _of_list(root: Path, listed: Path, label: str) -> Classified | None:
    """The pictures that a list beside them names, with its labels; None where it has none. Raises ConfigError for one that
    is not there."""
    source = find(str(listed), None)
    rows = read(source)
    if FILE_NAME not in rows.names or label not in rows.names:
        return None
    names, classes = (rows.table.column(name).to_pylist() for name in (FILE_NAME, label))
    for row, (name, given) in enumerate(zip(names, classes, strict=True)):
        if name is None or not (root / str(name)).is_file():
            raise ConfigError(f"{source.where(row)}: there is no file {name!r}")
        if given is None:
            raise ConfigError(f"{source.where(row)}: the label is missing")
    return Classified([root / str(name) for name in names], [], [str(given) for given in classes])


def _left_out(said: Sequence[str]) -> str:
    return f"; left out: {', '.join(said)}" if said else ""
