"""Whether a picture's file reaches as far as it says itself: told from its header and its last bytes, without decoding it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TAIL = 4096
_MARKS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "JPEG2000": b"\xff\xd9", "PNG": b"IEND"}
"""What the last bytes of a whole file hold."""
_PLAIN = frozenset({"BMP", "DIB", "IM", "PPM", "SGI", "TGA"})
"""Formats whose pixels Pillow reads as they lie in the file, where it names its `raw` decoder."""
_BITS = {"1": 1, "L": 8, "P": 8, "RGB": 24, "BGR": 24, "RGBA": 32, "BGRA": 32, "R": 8, "G": 8, "B": 8}
"""Of a pixel, by what Pillow calls the way that it lies in a file."""
_STRIPS, _TILES = (273, 279), (324, 325)
"""TIFF's tags for where its parts begin, and for how many bytes each has."""


def reaches_its_end(picture: Any, source: Path | bytes) -> bool | None:
    """Whether an opened picture of Pillow's has all the bytes that it speaks of; None where only decoding it can tell."""
    if picture.format in _MARKS:
        return _MARKS[picture.format] in tail(source)
    if picture.format == "GIF":
        return tail(source).rstrip(b"\0").endswith(b";")
    if not picture.tile:  # Pillow has read it whole to open it, as a WebP
        return True
    end = _end_of_parts(picture) if picture.format == "TIFF" else _end_of_pixels(picture)
    return None if end is None else end <= length(source)


def length(source: Path | bytes) -> int:
    """The bytes that there are of a picture."""
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def tail(source: Path | bytes) -> bytes:
    """The last bytes of a picture."""
    if isinstance(source, bytes):
        return source[-TAIL:]
    with source.open("rb") as file:
        file.seek(max(0, length(source) - TAIL))
        return file.read()


def _end_of_parts(picture: Any) -> int | None:
    """Where the last strip or tile of a TIFF ends."""
    for begins, counts in (_STRIPS, _TILES):
        parts = [picture.tag_v2.get(tag) for tag in (begins, counts)]
        starts, sizes = [part if isinstance(part, tuple) else (part,) for part in parts]
        if None not in starts and None not in sizes and len(starts) == len(sizes):
            return max(int(start) + int(size) for start, size in zip(starts, sizes, strict=True))
    return None


def _end_of_pixels(picture: Any) -> int | None:
    """Where the last row of a picture ends whose pixels lie in its file as they are."""
    if picture.format not in _PLAIN:
        return None
    ends: list[int] = []
    for codec, (left, top, right, bottom), offset, args in picture.tile:
        kind, stride = (args, 0) if isinstance(args, str) else args[:2]
        if codec != "raw" or (not stride and kind not in _BITS):
            return None
        row = ((right - left) * _BITS[kind] + 7) // 8 if kind in _BITS else stride
        ends.append(offset + (bottom - top - 1) * (stride or row) + row)
    return max(ends)
