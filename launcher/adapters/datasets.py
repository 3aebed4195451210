"""Private names of Hugging Face datasets."""

from __future__ import annotations

from typing import Any


def fingerprint(dataset: Any) -> str:
    """A text that changes with the contents of a dataset."""
    return str(dataset._fingerprint)  # datasets 5.2.0
