"""What a folder's sweep may become: who changes it, who may not, and what can not be changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from launcher.artifacts.sweep import FACTS
from launcher.errors import ConfigError
from launcher.search.space.samplers import RandomSampler
from launcher.search.study.fingerprint import accept, compare
from launcher.search.study.storage import open_storage
from launcher.search.study.study import Study
from tests.search.space.test_dimensions import parsed


def sweep(**config: Any) -> dict[str, Any]:
    return {"space": {}, "config": config, "metrics": [], "storage": None}


def test_changes_are_refused_and_comparing_writes_nothing(tmp_path: Path) -> None:
    assert compare(tmp_path / "none", sweep(seed=0), False)
    assert not (tmp_path / "none").exists()
    accept(tmp_path, sweep(seed=0), False)
    assert not compare(tmp_path, sweep(seed=0), False)
    with pytest.raises(ConfigError, match=r"seed: 0 -> 1\n.*accept_changes=true goes on with this one"):
        compare(tmp_path, sweep(seed=1), False)
    assert compare(tmp_path, sweep(seed=1), True)
    assert json.loads((tmp_path / FACTS).read_text()) == sweep(seed=0)
    accept(tmp_path, sweep(seed=1), True)
    assert json.loads((tmp_path / FACTS).read_text()) == sweep(seed=1)


def test_who_joins_changes_nothing(tmp_path: Path) -> None:
    accept(tmp_path, sweep(seed=0), False, joins=True)
    with pytest.raises(ConfigError, match=r"seed: 0 -> 1\n.*worker=true joins this one as it is"):
        accept(tmp_path, sweep(seed=1), True, joins=True)
    assert json.loads((tmp_path / FACTS).read_text()) == sweep(seed=0)


def test_other_choices_are_not_offered_to_be_accepted(tmp_path: Path) -> None:
    accept(tmp_path, sweep() | {"space": {"model": {"name": "c", "attributes": {"choices": ["mlp"]}}}}, False)
    with pytest.raises(ConfigError, match=r"model: mlp -> cnn\n.* begins a new one, this one keeps its choices$"):
        compare(tmp_path, sweep() | {"space": {"model": {"name": "c", "attributes": {"choices": ["cnn"]}}}}, False)


def open_study(folder: Path, *words: str) -> Study:
    return Study(open_storage(None, folder), "s", ["minimize"], folder, parsed(*words), lambda _: RandomSampler(0))


def test_choices_of_trials_that_there_are_can_not_change(tmp_path: Path) -> None:
    study = open_study(tmp_path, "model=mlp,cnn", "optimizer.lr=interval(0.1,1)")
    claim = study.ask()
    assert claim is not None
    study.tell(claim, TrialState.COMPLETE, [1.0])
    assert len(open_study(tmp_path, "model=mlp,cnn", "optimizer.lr=interval(0.2,2)", "seed=1,2").trials()) == 1
    with pytest.raises(ConfigError, match=r"model=mlp,vit: .*Another hydra\.sweeper\.study_name begins a new study$"):
        open_study(tmp_path, "model=mlp,vit", "optimizer.lr=interval(0.1,1)")
    assert len(study.trials()) == 1, "none was asked for"
