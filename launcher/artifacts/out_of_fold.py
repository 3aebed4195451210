"""oof.csv: what a cross-validation predicts of each row, by the fit that had held it out."""

from __future__ import annotations

FILE = "oof.csv"
