"""How long a driver waits for a cluster that does not answer."""

from __future__ import annotations

import pytest

from launcher.errors import NotNow
from launcher.search import patience
from launcher.search.patience import Patience


def test_a_cluster_that_took_nothing_yet_is_not_waited_for() -> None:
    told: list[str] = []
    with pytest.raises(NotNow, match="away"):
        Patience(told.append).away(NotNow("away"), busy=False)
    assert not told, "the error says it"


def test_one_that_took_runs_is_waited_for_and_spoken_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    waiting = Patience(told.append)
    waiting.met()
    for _ in range(3):
        waiting.away(NotNow("away"), busy=False)
    assert len(told) == 1
    assert told[0].startswith("away")
    waiting.met()
    waiting.away(NotNow("full"), busy=False)
    assert [line.split(";")[0] for line in told] == ["away", "full"]
    monkeypatch.setattr(patience, "AWAY_S", 0.0)
    waiting.away(NotNow("full"), busy=True)  # the places it waits for may be those of its own runs
    with pytest.raises(NotNow, match="full"):
        waiting.away(NotNow("full"), busy=False)
