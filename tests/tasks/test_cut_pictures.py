"""Pictures cut short: found before training in every format, also where they are too many to be decoded then."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from launcher.errors import ConfigError
from launcher.tasks.data.files import Files
from launcher.tasks.data.picture_ends import reaches_its_end

RNG = np.random.default_rng(0)
COLOUR = Image.fromarray(RNG.integers(0, 255, (61, 50, 3), dtype=np.uint8))
GREY, FLOATS = COLOUR.convert("L"), Image.fromarray(RNG.random((61, 50), dtype=np.float32))
DEEP = Image.fromarray(RNG.integers(0, 60_000, (61, 50), dtype=np.uint16))
PICTURES: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
    "bmp": (COLOUR, "BMP", {}),
    "bmp-grey": (GREY, "BMP", {}),
    "bmp-alpha": (COLOUR.convert("RGBA"), "BMP", {}),
    "bmp-bits": (COLOUR.convert("1"), "BMP", {}),
    "bmp-palette": (COLOUR.convert("P"), "BMP", {}),
    "tiff": (COLOUR, "TIFF", {}),
    "tiff-deep": (DEEP, "TIFF", {}),
    "tiff-floats": (FLOATS, "TIFF", {}),
    "tiff-lzw": (COLOUR, "TIFF", {"compression": "tiff_lzw"}),
    "tiff-deflate": (GREY, "TIFF", {"compression": "tiff_deflate"}),
    "jpeg": (COLOUR, "JPEG", {}),
    "png": (COLOUR, "PNG", {}),
    "gif": (COLOUR.convert("P"), "GIF", {}),
    "webp": (COLOUR, "WEBP", {}),
    "jpeg-2000": (COLOUR, "JPEG2000", {}),
    "ppm": (COLOUR, "PPM", {}),
    "pgm": (GREY, "PPM", {}),
    "tga": (COLOUR, "TGA", {}),
    "tga-packed": (COLOUR, "TGA", {"compression": "tga_rle"}),
    "sgi": (COLOUR, "SGI", {}),
    "pcx": (COLOUR, "PCX", {}),
    "ico": (COLOUR, "ICO", {}),
}
TOLD = sorted({*PICTURES} - {"tga-packed", "pcx"})
"""Those whose files tell by themselves."""


def saved(name: str) -> bytes:
    picture, format, options = PICTURES[name]
    whole = io.BytesIO()
    picture.save(whole, format, **options)
    return whole.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in ("one", "two"):
        (tmp_path / label).mkdir()
        GREY.save(tmp_path / label / "whole.png")
    return tmp_path


@pytest.mark.parametrize("name", PICTURES)
def test_cut_pictures_are_found_before_training(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from launcher.tasks.data import pictures

    monkeypatch.setattr(pictures, "SMALL", 0)  # as of too many to be decoded
    whole = saved(name)
    file = (folder / "one" / "cut").with_suffix(
        ".tif" if name.startswith("tiff") else f".{PICTURES[name][1].lower()[:4]}"
    )
    if name == "jpeg-2000":
        file = file.with_suffix(".jp2")
    file.write_bytes(whole)
    assert len(Files(str(folder)).images().labels) == 3, "whole, it is taken"
    for left in (len(whole) * 97 // 100, len(whole) // 2):
        file.write_bytes(whole[:left])
        with pytest.raises(ConfigError, match=rf"^{file}: (can not be decoded|not a picture)"):
            Files(str(folder)).images()


@pytest.mark.parametrize(
    "name",
    [
        "bmp",
        "bmp-grey",
        "bmp-alpha",
        "bmp-bits",
        "bmp-palette",
        "tiff",
        "tiff-deep",
        "tiff-floats",
        "ppm",
        "tga",
        "sgi",
    ],
)
def test_the_very_last_byte_counts(name: str, tmp_path: Path) -> None:
    """Where pixels lie in a file as they are. Pillow may take one without its last row's padding."""
    whole = saved(name)
    for number, left in enumerate(range(len(whole) - 4, len(whole) + 1)):
        path = tmp_path / f"{number}"
        path.write_bytes(whole[:left])
        try:
            with Image.open(path) as picture:
                told = reaches_its_end(picture, path)
                told_of_bytes = reaches_its_end(picture, whole[:left])
                picture.load()
        except (OSError, SyntaxError):
            assert not told
        else:
            assert told is not False or left < len(whole)
        assert told == told_of_bytes
    assert told is True


@pytest.mark.parametrize("name", TOLD)
def test_a_whole_file_is_not_decoded_to_know_it(name: str) -> None:
    whole = saved(name)
    with Image.open(io.BytesIO(whole)) as picture:
        assert reaches_its_end(picture, whole) is True
