"""Which trials' weights stay on the disk, where there is more than one objective."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import TrialState

from launcher.search.output.retention import Keeper
from launcher.search.space.samplers import RandomSampler
from launcher.search.study.storage import open_storage
from launcher.search.study.study import Study
from tests.search.space.test_dimensions import parsed


def test_of_two_objectives_the_front_keeps_its_weights(tmp_path: Path) -> None:
    study = Study(
        open_storage(None, tmp_path),
        "s",
        ["maximize", "minimize"],
        tmp_path,
        parsed("x=interval(0,1)"),
        lambda _: RandomSampler(0),
    )
    keeper = Keeper(study, 2)
    for values in ((0.5, 50.0), (0.9, 100.0), (0.6, 40.0), (0.8, 200.0)):
        claim = study.ask()
        assert claim is not None
        own = tmp_path / str(claim.number)
        (own / "checkpoints" / "step-9").mkdir(parents=True)
        (own / "model").mkdir()
        (own / "checkpoints" / "last").symlink_to("step-9")
        study.tell(claim, TrialState.COMPLETE, list(values))
        keeper.ended(claim.number, "completed")
    assert {path.parent.name for path in tmp_path.glob("*/model")} == {"1", "2"}, "0 and 3 are dominated"
    assert {path.parent.name for path in tmp_path.glob("*/checkpoints")} == {"1", "2"}


@pytest.mark.parametrize("nested", [False, True])
def test_what_a_kill_left_is_taken_away_by_whoever_comes_next(tmp_path: Path, nested: bool) -> None:
    """A driver is killed between the word that a trial has ended and the end of those that are no longer among the best."""
    study = Study(
        open_storage(None, tmp_path), "s", ["maximize"], tmp_path, parsed("x=interval(0,1)"), lambda _: RandomSampler(0)
    )
    for value in (0.5, 0.9, 0.6, 0.8, None):
        claim = study.ask()
        assert claim is not None
        own = tmp_path / str(claim.number) / ("seed-0" if nested else ".")
        for name in ("step-1", "step-9"):
            (own / "checkpoints" / name).mkdir(parents=True)
        (own / "model").mkdir()
        (own / "checkpoints" / "last").symlink_to("step-9")
        study.tell(claim, TrialState.PRUNED if value is None else TrialState.COMPLETE, value and [value])
    left = study.ask()
    assert left is not None
    (tmp_path / "5" / "checkpoints" / "step-1").mkdir(parents=True)
    Keeper(study, None)
    assert len(list(tmp_path.rglob("step-1"))) == 6, "null keeps everything"
    keeper = Keeper(study, 2)
    for _ in range(2):
        assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("model")} == {"1", "3", "4"}
        assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("step-9")} == {"1", "3", "4"}
        assert [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("step-1")] == ["5"], (
            "what runs is not touched"
        )
        keeper.tidy()


def test_what_others_will_go_on_from_stays(tmp_path: Path) -> None:
    """Also when a driver leaves in the middle, or comes: what then stays is what the next generation begins with."""
    study = Study(
        open_storage(None, tmp_path), "s", ["maximize"], tmp_path, parsed("x=interval(0,1)"), lambda _: RandomSampler(0)
    )
    needed = {0, 2}
    keeper = Keeper(study, 1, lambda: needed)
    for value in (0.1, 0.9, 0.2, 0.3):
        claim = study.ask()
        assert claim is not None
        own = tmp_path / str(claim.number)
        (own / "checkpoints" / "step-9").mkdir(parents=True)
        (own / "checkpoints" / "last").symlink_to("step-9")
        study.tell(claim, TrialState.COMPLETE, [value])
        keeper.ended(claim.number, "completed")
    keeper.tidy()
    assert {path.parent.name for path in tmp_path.glob("*/checkpoints")} == {"0", "1", "2"}
    keeper = Keeper(study, 1, lambda: needed)
    assert {path.parent.name for path in tmp_path.glob("*/checkpoints")} == {"0", "1", "2"}
    needed.clear()
    keeper.tidy()
    assert {path.parent.name for path in tmp_path.glob("*/checkpoints")} == {"1"}
