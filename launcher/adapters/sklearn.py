"""Private names of scikit-learn."""

from __future__ import annotations

from typing import Any


def constraints_of(target: Any) -> dict[str, Any]:
    """The constraints of an estimator's arguments by name; none of what is no estimator."""
    found: dict[str, Any] = getattr(target, "_parameter_constraints", {})  # scikit-learn 1.9.1
    return found
