"""report.html: the page of a run or of a sweep, which launcher/report/ makes."""

from __future__ import annotations

FILE = "report.html"
