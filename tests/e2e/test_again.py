"""A sweep of which trials fail for a reason that is gone later: it stops where all fail alike, and trains them again."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Launch
from tests.e2e.test_sweep import SHORT, table
from tests.support.failing import TRUST

WORDS = (*SHORT, "task._target_=tests.support.failing.Fails", "+task.how=missing", "hydra.sweeper.study_name=s")


def test_what_failed_alike_stops_the_sweep_and_is_trained_again(launch: Launch, tmp_path: Path) -> None:
    """The same product comes out as if nothing had failed, at any order of the words."""
    needed, study = tmp_path / "needed", tmp_path / "multirun" / "s"
    env = TRUST | {"NEEDED": str(needed)}
    rates, seeds = "optimizer.lr=1e-3,1e-2", "seed=1,2,3"
    stopped = launch(*WORDS, rates, seeds, "hydra.sweeper.max_consecutive_failures=2", env=env)
    assert stopped.returncode == 1
    (said,) = [line for line in stopped.stderr.splitlines() if line.startswith("error: ")]
    assert said.startswith(
        f"error: the sweep is stopped: its first trials (0, 1) all failed alike: FileNotFoundError: {needed} is needed by process "
    )
    assert said.endswith(" (hydra.sweeper.max_consecutive_failures=2; null goes on)")
    assert [row["state"] for row in table(study)] in (["failed"] * 2, ["failed", "failed", "running"]), (
        "one may be ready"
    )
    page = (study / "report.html").read_text()
    assert f"<td>FileNotFoundError: {needed} is needed by process " in page, "the page says why"
    assert 'href="1/' in page
    needed.touch()
    stands = launch(*WORDS, rates, seeds, "hydra.sweeper.n_trials=3", "hydra.sweeper.max_failure_rate=1", env=env)
    assert stands.returncode == 0, stands.stderr
    assert [row["state"] for row in table(study)] == ["failed", "failed", "completed"], "what has failed stands"
    again = launch(*WORDS, seeds, rates, "hydra.sweeper.retry_failed=true", env=env)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "6 trials in multirun/s, 1 at a time, 1 of them done already" in again.stdout
    assert "6/6  trial " in again.stdout
    rows = table(study)
    assert [row["state"] for row in rows] == ["failed"] * 2 + ["completed"] * 6
    points = [(row["optimizer.lr"], row["seed"]) for row in rows[2:]]
    assert sorted(points) == [(rate, seed) for rate in ("0.001", "0.01") for seed in "123"]
    assert {(row["optimizer.lr"], row["seed"]) for row in rows[:2]} < set(points)
    once = launch(*WORDS, rates, seeds, "hydra.sweeper.retry_failed=true", env=env)
    assert once.returncode == 0
    assert "6 of them done already" in once.stdout
    assert len(table(study)) == 8, "nothing is trained a third time"
