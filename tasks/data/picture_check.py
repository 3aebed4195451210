"""Pictures looked through before training: which cannot be read, and what white is in those of floats."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import numpy as np

from launcher.errors import ConfigError

from .picture_ends import length, reaches_its_end
from .pictures import FLOAT_TOPS, Decoded, opened

T = TypeVar("T")
Broken = Literal["refuse", "leave_out"]
LOOKED = 20_000
"""Pictures whose beginning and end are looked at, about 2 s. Of more the rest is found when it is decoded."""
LIGHT = 1 << 20
"""A picture of up to so many bytes is decoded where its file does not tell whether it is whole."""
THREADS = 8


def look_through(pictures: Decoded, broken: Broken, hint: str = "") -> tuple[dict[int, str], np.ndarray | None]:
    """The pictures that cannot be read, by row, with what is said of each; and the pixels of all, where they fit into
    memory. Sets `pictures.top`.

    Small ones and, with `leave_out`, all are decoded, which is sure. Of others the beginning and the end are looked at,
    and what looks cut short is decoded. Raises ConfigError, with their number, the first and the `hint`, where they are to
    be refused.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # of a broken picture, in its own words and without the file
        found, pixels = _looked_through(pictures, broken)
    if found and broken == "refuse":
        some = f"{len(found)} pictures can not be read, the first is " if len(found) > 1 else ""
        raise ConfigError(f"{some}{found[min(found)]}{hint}")
    return found, pixels


def _looked_through(pictures: Decoded, broken: Broken) -> tuple[dict[int, str], np.ndarray | None]:
    whole = pictures.small or broken == "leave_out"
    rows = np.arange(len(pictures) if whole else min(len(pictures), LOOKED))
    found: dict[int, str] = {}
    floats: list[int] = []
    suspects: list[int] = []
    for row, (mode, why) in zip(rows.tolist(), _each(_glance, pictures, rows), strict=True):
        if why:
            found[row] = why
        elif whole or why is None:
            suspects.append(row)
        if mode == "F":
            floats.append(row)
    if floats:
        pictures.top = _top(pictures, np.array(floats))
    pixels = np.zeros(pictures.shape, dtype=np.float32) if pictures.small else None
    for row, made in zip(suspects, _each(_decoded, pictures, np.array(suspects, dtype=np.int64)), strict=True):
        if isinstance(made, str):
            found[row] = made
        elif pixels is not None:
            pixels[row] = made[0]
    return found, pixels


def _each(look: Callable[[Decoded, int], T], pictures: Decoded, rows: np.ndarray) -> Iterator[T]:
    """What `look` says of each row, in their order; decoding waits for no other thread of Python."""
    with ThreadPoolExecutor(THREADS) as threads:
        yield from threads.map(lambda row: look(pictures, row), rows.tolist())


def _glance(pictures: Decoded, row: int) -> tuple[str, str | None]:
    """A picture's mode, and "" where it seems to be whole, None where it may be cut short, else what is wrong."""
    from PIL import Image, UnidentifiedImageError

    name = ""
    try:
        ((name, source),) = pictures.sources(np.array([row]))
        with Image.open(opened(source)) as file:
            mode, whole = file.mode, reaches_its_end(file, source)
    except ConfigError as error:
        return "", str(error)
    except UnidentifiedImageError:
        return "", f"{name}: not a picture"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return "", f"{name}: can not be decoded: {error}"
    return mode, "" if whole or (whole is None and length(source) > LIGHT) else None


def _decoded(pictures: Decoded, row: int) -> np.ndarray | str:
    """A picture's pixels, or what is wrong with it."""
    try:
        return pictures[np.array([row])]
    except ConfigError as error:
        return str(error)


def _top(pictures: Decoded, rows: np.ndarray) -> float:
    """White in the pictures of floats, all together: 1, 255 or 65535. Raises ConfigError for values that are none of these."""
    from PIL import Image

    most, name = 0.0, ""
    for own, source in pictures.sources(rows):
        try:
            with Image.open(opened(source)) as file:
                values = np.asarray(file, dtype=np.float64)
        except (OSError, SyntaxError, ValueError):  # said when it is decoded
            continue
        if not np.isfinite(values).all() or values.min() < 0:
            raise ConfigError(f"{own}: a picture of floats from {values.min():g} to {values.max():g}; expected 0 to 1")
        if values.max() > most:
            most, name = float(values.max()), own
    top = next((top for top in FLOAT_TOPS if most <= top), None)
    if top is None:
        raise ConfigError(f"{name}: a picture of floats up to {most:g}; expected them to end at 1, 255 or 65535")
    return top
