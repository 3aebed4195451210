"""Ranks that are to hold the same weights do so: a loss's weight that differs, weights that drift, and who is compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fits import TRUST, curve, fit
from tests.support.harness import Outcome, Warm

RUN = ("model=mlp", "tracker=[]", "training.log_every=1", "training.max_steps=14", "hydra.run.dir=run")
COUNTED = ("task._target_=tests.support.odd.Counted", "training.accumulate=2")
DRIFTS = ("+monitor.drifts._target_=tests.support.odd.Drifts", "+monitor.drifts.step=7", "training.checkpoint_every=7")
TEXT = ("task=text_classification", "data=stdlib_snippets", "model=transformer", "model.width=16", "model.depth=1")
COPIES = {
    "ddp": ("parallel=ddp",),
    "zero1": ("parallel=zero1",),
    "hsdp": ("parallel=hsdp", "+monitor.drifts.rank=2"),
    "tensor": ("parallel=tensor", *TEXT, "model.num_heads=2", "training.batch_size=8"),
    "pipeline": ("parallel=pipeline", "parallel.num_processes=4", "parallel.num_stages=2", "+monitor.drifts.rank=2"),
    "deepspeed": ("parallel=deepspeed", "parallel.stage=1"),
}
"""Every strategy in which ranks hold the same weight, and a rank that moves one."""
EACH = [name if name == "ddp" else pytest.param(name, marks=pytest.mark.slow) for name in COPIES]


def words(*given: str) -> list[str]:
    """A command, in which what comes later takes the place of what came before."""
    found = dict(word.split("=", 1) for word in (*RUN, *given))
    return [f"{key}={value}" for key, value in found.items()]


def run(warm: Warm, cwd: Path, *given: str) -> Outcome:
    return warm(*words(*given), cwd=cwd, env=TRUST)


@pytest.mark.parametrize("name", ["ddp", pytest.param("zero3", marks=pytest.mark.slow)])
def test_a_number_of_shapes_that_differ_is_summed_over_the_ranks(
    warm: Warm, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The curve is that of one process whose weight is a tensor, or a number, in one portion or two."""
    done = run(warm, tmp_path, f"parallel={name}", *COUNTED, "+task.ragged=true")
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("LAUNCHER_TRUST", TRUST["LAUNCHER_TRUST"])
    fit(tmp_path / "tensor", "training.max_steps=14", "task._target_=tests.support.odd.Weighted")
    for metric in ("train/loss", "val/loss"):
        expected = curve(tmp_path / "tensor", metric)
        assert curve(tmp_path / "run", metric) == pytest.approx(expected, rel=1e-5)
    fit(tmp_path / "number", "training.max_steps=14", *COUNTED)
    assert curve(tmp_path / "number") == pytest.approx(curve(tmp_path / "tensor"), rel=1e-5)


@pytest.mark.parametrize("name", ["ddp", pytest.param("zero2", marks=pytest.mark.slow)])
def test_a_number_that_breaks_its_promise_ends_the_run_before_anything_is_saved(
    warm: Warm, tmp_path: Path, name: str
) -> None:
    done = run(warm, tmp_path, f"parallel={name}", *COUNTED)
    assert done.returncode == 1
    assert "the loss's weight was a plain number, and not the same on every rank: from " in done.stderr
    assert "Traceback" not in done.stderr
    assert len(curve(tmp_path / "run")) <= 2
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("name", EACH)
def test_no_checkpoint_is_written_of_ranks_that_have_drifted_apart(warm: Warm, tmp_path: Path, name: str) -> None:
    done = run(warm, tmp_path, *COPIES[name], *DRIFTS)
    assert done.returncode == 1, done.stdout
    assert "the ranks' weights are not the same any more at step 7: " in done.stderr
    assert not list((tmp_path / "run" / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("name", EACH)
def test_debug_finds_the_step(warm: Warm, tmp_path: Path, name: str) -> None:
    given = (*COPIES[name], *DRIFTS, "debug=true", "training.checkpoint_every=14", "+monitor.drifts.step=5")
    done = run(warm, tmp_path, *given)
    assert done.returncode == 1
    assert "the ranks' weights are not the same any more at step 5: " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", COPIES)
def test_undisturbed_ranks_are_alike_bit_for_bit(warm: Warm, tmp_path: Path, name: str) -> None:
    given = [word for word in COPIES[name] if "drifts" not in word]
    done = run(warm, tmp_path, *given, "debug=true", "training.clip_norm=0.5")
    assert done.returncode == 0, done.stderr
    assert "last bits" not in done.stdout


def test_last_bits_are_told_once(warm: Warm, tmp_path: Path) -> None:
    done = run(warm, tmp_path, "parallel=ddp", *DRIFTS, "+monitor.drifts.size=1e-7", "training.checkpoint_every=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("differs in its last bits between ranks") == 1


def test_replicas_that_meet_later_are_not_compared(warm: Warm, tmp_path: Path) -> None:
    done = run(warm, tmp_path, "parallel=ddp", "communication=local_sgd", *DRIFTS, "debug=true")
    assert done.returncode == 0, done.stderr
    assert "differs" not in done.stdout
