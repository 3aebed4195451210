"""job.json and exit.json: which job of a cluster a run is, and how it has ended."""

from __future__ import annotations

JOB, EXIT = "job.json", "exit.json"
