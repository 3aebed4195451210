"""Pictures in files, decoded when they are asked for."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from launcher.errors import ConfigError

from .columns import labels
from .kinds import Images

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL import Image

SMALL = 64 << 20
"""Pictures that take up to this many bytes are decoded once and kept in memory."""


class ArrowPictures:
    """A column of pictures, each decoded, turned upright, converted and scaled when it is asked for."""

    def __init__(self, dataset: Dataset, column: str, size: int, channels: int) -> None:
        import datasets

        self.dataset = dataset.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        self.column, self.size, self.channels = column, size, channels

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.dataset), self.channels, self.size, self.size

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        found = self.dataset[rows.tolist()][self.column]
        pixels = np.empty((len(rows), *self.shape[1:]), dtype=np.float32)
        for row, entry in enumerate(found):
            pixels[row] = self._decode(entry)
        return pixels

    def _decode(self, entry: dict[str, Any] | None) -> np.ndarray:
        from PIL import Image, ImageOps, UnidentifiedImageError

        if entry is None:
            raise ConfigError(f"a row of the column {self.column!r} holds no picture")
        name = entry["path"] or f"a picture of the column {self.column!r}"
        try:
            with Image.open(io.BytesIO(entry["bytes"]) if entry["bytes"] is not None else entry["path"]) as file:
                picture = _eight_bits(ImageOps.exif_transpose(file)).convert("L" if self.channels == 1 else "RGB")
        except UnidentifiedImageError as error:
            raise ConfigError(f"{name}: not a picture") from error
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ConfigError(f"{name}: can not be decoded: {error}") from error
        if picture.size != (self.size, self.size):
            picture = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, reducing_gap=2.0)
        values = np.asarray(picture, dtype=np.float32) / 255
        return values[None] if self.channels == 1 else values.transpose(2, 0, 1)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey pictures of 16 bits scaled to 8: Pillow's own conversion cuts them off at 255."""
    from PIL import Image

    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture, dtype=np.float64).clip(0, 65535) / 257).round().astype(np.uint8))
    return picture


def images(
    dataset: Dataset,
    column: str,
    label: str,
    size: int,
    channels: int,
    classes: Any,
    where: Callable[[int], str],
    source: str,
) -> Images:
    """A column of pictures and one of labels; small ones are decoded at once. Raises ConfigError for a file that is no picture."""
    if channels not in (1, 3):
        raise ConfigError(f"data.channels={channels}: expected 1 (grey) or 3 (colour)")
    if size < 1:
        raise ConfigError(f"data.size={size}: expected a positive number of pixels")
    numbers, names = labels(dataset, label, classes, where, source)
    pictures = ArrowPictures(dataset, column, size, channels)
    small = 4 * np.prod(pictures.shape, dtype=np.int64) <= SMALL
    return Images(pictures[np.arange(len(dataset))] if small else pictures, numbers, names)
