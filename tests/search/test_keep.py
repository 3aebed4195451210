"""Which trials' weights stay on the disk, where there is more than one objective."""

from __future__ import annotations

from pathlib import Path

from optuna.trial import TrialState

from launcher.search.keep import Keeper
from launcher.search.samplers import RandomSampler
from launcher.search.storage import open_storage
from launcher.search.study import Study
from tests.search.test_space import parsed


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
