"""The files of a sweep's folder: its facts, its trials, and what became of them."""

from __future__ import annotations

FACTS = "sweep.json"
"""What the page and the next driver have to know of a sweep."""
TRIALS = "trials.csv"
"""A line a trial."""
RESULTS = "optimization_results.yaml"
"""The best trial, as hydra-optuna-sweeper writes it."""
JOURNAL = "study.journal"
"""Optuna's own record, where no other storage is named."""
ENSEMBLE = "ensemble.json"
"""The members of a sweep's ensemble."""
