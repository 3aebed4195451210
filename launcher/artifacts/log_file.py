"""log.txt: what a run prints where no terminal hears it."""

from __future__ import annotations

FILE = "log.txt"
