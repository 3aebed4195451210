"""Handwritten digits from scikit-learn's installed files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import ClassVar

import numpy as np

from launcher.errors import ConfigError

from .kinds import Images


class Digits:
    """1,797 pictures of 8x8 pixels in ten classes; the same values as `sklearn.datasets.load_digits` over 16.

    The file is read directly: importing scikit-learn costs a second that the first step need not wait for.
    """

    kind: ClassVar[str] = "images"

    def images(self) -> Images:
        spec = importlib.util.find_spec("sklearn")
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError("data=digits reads scikit-learn's installed files; pip install scikit-learn")
        path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
        table = np.loadtxt(path, delimiter=",", dtype=np.float32)
        pixels = (table[:, :-1] / 16).reshape(-1, 1, 8, 8)
        return Images(pixels, table[:, -1].astype(np.int64), [str(digit) for digit in range(10)])
