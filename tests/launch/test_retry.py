"""How long a driver waits for a cluster that does not answer, or takes no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from launcher.errors import NotNow
from launcher.launch import retry
from launcher.launch.retry import Patience, Standstill


def away(text: str, full: bool = False) -> Callable[[], str]:
    def submit() -> str:
        raise NotNow(text, full)

    return submit


def test_a_cluster_that_took_nothing_yet_is_not_waited_for() -> None:
    told: list[str] = []
    with pytest.raises(NotNow, match="away"):
        Patience(told.append).ask(away("away"), busy=False)
    assert not told, "the error says it"


def test_one_that_took_runs_is_waited_for_and_spoken_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(retry, "PAUSE_S", (0.0, 0.0))
    waiting = Patience(told.append)
    assert waiting.ask(lambda: "first", busy=False) == "first"
    assert [waiting.ask(away("away"), busy=False) for _ in range(3)] == [None] * 3
    assert len(told) == 1
    assert waiting.ask(lambda: "second", busy=False) == "second"
    assert waiting.ask(away("full"), busy=False) is None
    assert [line.split(";")[0] for line in told] == ["away", "full"]
    monkeypatch.setattr(retry, "AWAY_S", 0.0)
    waiting.ask(away("full"), busy=True)  # the places it waits for may be those of its own runs
    with pytest.raises(NotNow, match="full"):
        waiting.ask(away("full"), busy=False)


def test_a_controller_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refusal doubles the pause, up to the longest; a run that is taken ends it."""
    now, asked = [100.0], list[float]()
    monkeypatch.setattr(retry.time, "monotonic", lambda: now[0])
    waiting = Patience(lambda text: None)
    waiting.ask(lambda: "first", busy=False)

    def submit() -> str:
        asked.append(now[0] - 100)
        if now[0] < 200:
            raise NotNow("limit", full=True)
        return "taken"

    while waiting.ask(submit, busy=True) is None:
        now[0] += 0.25  # as often as a sweep looks at its trials
    assert asked == [0, 1, 3, 7, 15, 31, 61, 91, 121]
    assert waiting.ask(lambda: "next", busy=True) == "next"


def test_a_limit_is_met_by_fewer_at_once() -> None:
    """Nine runs where four may be: none is lost to the limit, and one alone that is not taken either is an error."""
    given = Patience(lambda text: None)
    sizes: list[int] = []

    def submit(num: int) -> Callable[[], int]:
        def taken() -> int:
            sizes.append(num)
            if num > 4:
                raise NotNow("limit", full=True)
            return num

        return taken

    while given.ask(submit(min(9, given.at_once)), False, min(9, given.at_once)) is None:
        pass
    assert sizes == [9, 4]
    with pytest.raises(NotNow):
        Patience(lambda text: None).ask(away("limit", full=True), busy=False)


def test_a_trial_that_leaves_and_leaves_where_it_was_is_not_resumed_for_ever() -> None:
    still = Standstill()
    assert [still.met(0, None), still.met(1, {"steps": 3}), still.met(0, {"steps": 0})] == [False] * 3
    assert [still.met(1, {"steps": 3}), still.met(1, {"steps": 4})] == [False] * 2, "it came further"
    assert still.met(0, {"steps": None})
    assert not still.met(1, {"steps": 4})
    assert still.met(1, {"steps": 4})
