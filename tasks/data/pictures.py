"""Pictures in files or in a column, decoded when they are asked for."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from launcher.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL import Image

SMALL = 64 << 20
"""Pictures that take up to this many bytes are decoded once and kept in memory."""
FLOAT_TOPS = (1.0, 255.0, 65535.0)
"""What white may be in pictures of floats."""


class Decoded(ABC):
    """Pictures, each decoded, turned upright, converted and scaled when it is asked for. `top` is white in those of floats."""

    def __init__(self, size: int, channels: int, top: float = 1.0) -> None:
        if channels not in (1, 3):
            raise ConfigError(f"data.channels={channels}: expected 1 (grey) or 3 (colour)")
        if size < 1:
            raise ConfigError(f"data.size={size}: expected a positive number of pixels")
        self.size, self.channels, self.top = size, channels, top

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sources(self, rows: np.ndarray) -> list[tuple[str, Path | bytes]]:
        """The name and the file, or its content, of each picture at `rows`. Raises ConfigError for a row that has none."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self), self.channels, self.size, self.size

    @property
    def small(self) -> bool:
        """Whether all of them fit into memory."""
        return bool(4 * np.prod(self.shape, dtype=np.int64) <= SMALL)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        pixels = np.empty((len(rows), *self.shape[1:]), dtype=np.float32)
        for row, (name, source) in enumerate(self.sources(rows)):
            pixels[row] = self._decode(name, source)
        return pixels

    def _decode(self, name: str, source: Path | bytes) -> np.ndarray:
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            with Image.open(opened(source)) as file:
                upright = _eight_bits(ImageOps.exif_transpose(file), self.top)
                picture = upright.convert("L" if self.channels == 1 else "RGB")
        except UnidentifiedImageError as error:
            raise ConfigError(f"{name}: not a picture") from error
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            raise ConfigError(f"{name}: can not be decoded: {error}") from error
        if picture.size != (self.size, self.size):
            picture = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, reducing_gap=2.0)
        values = np.asarray(picture, dtype=np.float32) / 255
        return values[None] if self.channels == 1 else values.transpose(2, 0, 1)


class FilePictures(Decoded):
    """Pictures that are files."""

    def __init__(self, files: Sequence[Path], size: int, channels: int, top: float = 1.0) -> None:
        super().__init__(size, channels, top)
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    def sources(self, rows: np.ndarray) -> list[tuple[str, Path | bytes]]:
        return [(str(self.files[row]), self.files[row]) for row in rows.tolist()]


class ArrowPictures(Decoded):
    """A column of pictures."""

    def __init__(self, dataset: Dataset, column: str, size: int, channels: int) -> None:
        import datasets

        super().__init__(size, channels)
        self.dataset = dataset.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        self.column = column

    def __len__(self) -> int:
        return len(self.dataset)

    def sources(self, rows: np.ndarray) -> list[tuple[str, Path | bytes]]:
        found: list[dict[str, Any] | None] = self.dataset[rows.tolist()][self.column]
        named = []
        for entry in found:
            if entry is None:
                raise ConfigError(f"a row of the column {self.column!r} holds no picture")
            name = entry["path"] or f"a picture of the column {self.column!r}"
            named.append((name, Path(entry["path"]) if entry["bytes"] is None else entry["bytes"]))
        return named


def opened(source: Path | bytes) -> Any:
    """What Pillow opens."""
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _eight_bits(picture: Image.Image, top: float) -> Image.Image:
    """Grey pictures of 16 bits, and of floats from 0 to `top`, scaled to 8 bits: Pillow's own conversion cuts them off.
    Raises ValueError for floats beyond."""
    from PIL import Image

    if picture.mode == "F":
        values = np.asarray(picture, dtype=np.float64)
        if not (values.min() >= 0 and values.max() <= top):
            raise ValueError(f"floats from {values.min():g} to {values.max():g}, where white is {top:g}")
        return Image.fromarray((values / top * 255).round().astype(np.uint8))
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture, dtype=np.float64).clip(0, 65535) / 257).round().astype(np.uint8))
    return picture
