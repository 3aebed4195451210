"""Seeds: one for each purpose, the same everywhere."""

from __future__ import annotations

import subprocess
import sys

from launcher.process.seeds import derive
from tests.support.harness import environment


def test_a_seed_is_the_same_in_every_process() -> None:
    code = "from launcher.process.seeds import derive; print(derive(7, 'order', 3))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=environment({"PYTHONHASHSEED": salt}),
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        for salt in ("1", "2")
    }
    assert seen == {f"{derive(7, 'order', 3)}\n"}


def test_the_value_is_what_it_was() -> None:
    """Orders and initial weights of every run hang on it."""
    assert derive(0, "order", 0) == 8975211292508624448


def test_purposes_do_not_meet() -> None:
    asked = [
        (seed, *what)
        for seed in range(20)
        for what in ((), ("order", 0), ("order", 1), ("init",), ("train", 0), ("train", 1))
    ]
    assert len({derive(*each) for each in asked}) == len(asked)
    assert derive(0, "ab", "c") != derive(0, "a", "bc")
    assert derive(0, "1", 2) == derive(0, 1, "2")  # words are compared as they are written
    assert all(0 <= derive(*each) < 2**63 for each in asked)
