"""When the next trial is asked for: while the slots are busy, where they would stand idle for it otherwise."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from launcher.process.signals import Interrupt
from launcher.search.dispatcher import Scheduler
from tests.search import driver


@pytest.mark.parametrize("slots", [2, 1])
def test_a_sampler_that_learns_is_asked_ahead_where_that_is_worth_it(tmp_path: Path, slots: int) -> None:
    """To compose takes longer than a trial. Of one slot never: there a draw knows all trials before it."""
    pool = driver.CountingPool(slots)
    busy: list[int] = []

    def compose(params: dict[str, Any], number: int) -> DictConfig:
        busy.append(len(pool._running))
        time.sleep(0.1)
        return driver.compose(params)

    def value(result: dict[str, Any]) -> list[float]:
        return [result["objective"]["value"]]

    study = driver.open_study(tmp_path, "bayes", 12)
    Scheduler(study, pool, compose, value, driver.Silent(), Interrupt()).run()
    assert len(busy) == len(study.trials()) == 12
    assert max(busy) == (2 if slots == 2 else 0)
