"""profile.json and profile.txt: the trace of a few steps, and the operations that took longest."""

from __future__ import annotations

FILE, TABLE = "profile.json", "profile.txt"
