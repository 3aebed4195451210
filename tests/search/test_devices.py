"""Which devices each slot has, by the names that a machine with some would give them."""

from __future__ import annotations

import pytest

from launcher.errors import ConfigError
from launcher.search.devices import environment, slots, visible

FOUR = ["0", "1", "2", "3"]


def test_one_trial_a_device_is_the_default() -> None:
    assert slots(FOUR, None, 1, 1) == [("0",), ("1",), ("2",), ("3",)]
    assert slots(FOUR, 2, 1, 1) == [("0",), ("1",)]
    assert slots(FOUR, 9, 1, 1) == [("0",), ("1",), ("2",), ("3",)], "no more than they can hold"


def test_several_devices_a_trial_and_several_trials_a_device() -> None:
    assert slots(FOUR, None, 2, 1) == [("0", "1"), ("2", "3")]
    assert slots(FOUR[:3], None, 2, 1) == [("0", "1")]
    assert slots(FOUR[:2], None, 1, 2) == [("0",), ("1",), ("0",), ("1",)]
    with pytest.raises(ConfigError, match="there are 4 devices here"):
        slots(FOUR, None, 8, 1)


def test_without_devices_the_processors_are_shared() -> None:
    assert slots([], None, 1, 1) == [None]
    assert slots([], 3, 1, 1) == [None] * 3
    assert slots(FOUR, 3, 0, 1) == [()] * 3


def test_what_a_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible() == []
    assert environment(("2", "5")) == {"CUDA_VISIBLE_DEVICES": "2,5"}
    assert environment(()) == {"CUDA_VISIBLE_DEVICES": ""}
    assert environment(None) == {}
