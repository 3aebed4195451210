"""Pictures as arrays and as PNG files: uint8, [height, width] or [height, width, 3]. No library draws them."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

HEAD = "data:image/png;base64,"
ACROSS, SMALLEST, GAP = 6, 48, 2
"""Of a sheet: pictures side by side, the pixels that each has at least, and those between two."""


def shaded(shares: np.ndarray, cell: int = 16) -> np.ndarray:
    """Numbers from 0 to 1 ([rows, columns]) as a picture, white to blue, `cell` pixels each."""
    import numpy as np

    colours = 255 - shares[..., None] * (255 - np.array([31, 95, 206]))
    return np.repeat(np.repeat(colours.round().astype(np.uint8), cell, axis=0), cell, axis=1)


def heat(confusion: list[list[int]], cell: int = 16) -> np.ndarray:
    """A confusion matrix as a picture (uint8, [height, width, 3]): the share of a label's samples, white to blue."""
    import numpy as np

    counts = np.asarray(confusion, dtype=np.float64)
    return shaded(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cell)


def sheet(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures on one (uint8, [height, width, 3]), in rows; small ones are enlarged, all stand in cells of the largest's size."""
    import numpy as np

    coloured = [each if each.ndim == 3 else np.repeat(each[..., None], 3, axis=2) for each in pictures]
    enlarged = []
    for each in coloured:
        factor = max(1, -(-SMALLEST // max(each.shape[:2])))
        enlarged.append(np.repeat(np.repeat(each, factor, axis=0), factor, axis=1))
    height = max(each.shape[0] for each in enlarged) + GAP
    width = max(each.shape[1] for each in enlarged) + GAP
    columns = min(ACROSS, len(enlarged))
    whole = np.full((-(-len(enlarged) // columns) * height, columns * width, 3), 255, dtype=np.uint8)
    for index, each in enumerate(enlarged):
        top, left = index // columns * height, index % columns * width
        whole[top : top + each.shape[0], left : left + each.shape[1]] = each
    return whole


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of a picture (ISO/IEC 15948, no filter)."""
    import numpy as np

    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    lines = pixels.reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1).tobytes()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw, 6)) + chunk(b"IEND", b"")


def data_uri(pixels: np.ndarray) -> str:
    """A picture as the address of itself, for a page that refers to nothing outside."""
    return HEAD + base64.b64encode(png(pixels)).decode()


def pixels_of(uri: str) -> np.ndarray:
    """The picture that `data_uri` made an address of."""
    import numpy as np

    content = base64.b64decode(uri.removeprefix(HEAD))
    width, height, _, colours = struct.unpack(">IIBB", content[16:26])
    start = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[start - 4 : start])
    raw = np.frombuffer(zlib.decompress(content[start + 4 : start + 4 + length]), np.uint8)
    lines = raw.reshape(height, -1)[:, 1:]
    return lines.reshape(height, width, 3) if colours == 2 else lines.reshape(height, width)
