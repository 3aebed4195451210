"""`resume=`: half precision, determinism, other lengths, another number of ranks, torn and lost files, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from launcher.artifacts.metrics_file import read
from tests.conftest import Launch
from tests.support.harness import Outcome
from tests.support.sameness import assert_same, lines
from tests.support.signalled import TRUST

ENV = {"OMP_NUM_THREADS": "1"} | TRUST
WORDS = [
    "model=mlp",
    "model.dropout=0.2",
    "training.max_steps=60",
    "training.max_epochs=null",
    "training.log_every=7",
    "training.eval_every=20",
    "training.checkpoint_every=10",
    "tracker=[]",
]


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def interrupted(launch: Launch, tmp_path: Path, *words: str) -> Path:
    """A run that was preempted at step 25."""
    folder = tmp_path / "run"
    accumulate = 4 if "training.accumulate=4" in words else 1
    task = [
        "task._target_=tests.support.signalled.Signalled",
        "+task.at=step",
        f"+task.mark={tmp_path / 'mark'}",
        f"+task.num_batches={25 * accumulate}",
    ]
    done = launch(*words, *task, f"hydra.run.dir={folder}", env=ENV)
    assert done.returncode == 75, done.stdout + done.stderr
    assert result(folder)["steps"] == 25
    return folder


def run(launch: Launch, *words: str) -> Outcome:
    done = launch(*words, env=ENV)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize(
    "words",
    [
        ["precision=bf16"],
        ["precision=fp16", "training.clip_norm=1.0"],
        ["deterministic=true", "model=cnn", "training.accumulate=4"],
        [
            "optimizer=sgd",
            "optimizer.momentum=0.9",
            "scheduler=step",
            "scheduler.step_size=9",
            "regularization=[label_smoothing]",
        ],
        ["training.compile=false", "scheduler.warmup=0.5", "training.log_every=1"],
    ],
    ids=lambda words: words[0],
)
def test_both_halves_are_the_whole(launch: Launch, tmp_path: Path, words: list[str]) -> None:
    keys = {word.partition("=")[0] for word in words}
    mine = [word for word in WORDS if word.partition("=")[0] not in keys] + words
    if any(word.startswith("model=cnn") for word in words):
        mine.remove("model.dropout=0.2")
    run(launch, *mine, f"hydra.run.dir={tmp_path / 'whole'}")
    folder = interrupted(launch, tmp_path, *mine)
    run(launch, f"resume={folder}")
    assert_same(folder, tmp_path / "whole")


def test_text_from_a_memory_map_by_data_workers(launch: Launch, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"{number} times {number} is {number * number}." for number in range(600)))
    words = [
        "task=pretrain_clm",
        "data=files",
        f"data.path={corpus}",
        "task.sequence_length=32",
        "model.width=16",
        "model.depth=1",
        "model.num_heads=2",
        "loading.num_workers=1",
        "training.batch_size=4",
        "training.accumulate=2",
        "training.max_steps=20",
        "training.log_every=3",
        "training.eval_every=10",
        "training.checkpoint_every=4",
        "tracker=[]",
    ]
    whole = run(launch, *words, f"hydra.run.dir={tmp_path / 'whole'}")
    assert "real_accelerator" not in whole.stdout + whole.stderr, "DeepSpeed was imported to write the model"
    run(launch, *words, f"hydra.run.dir={tmp_path / 'run'}")
    # As a kill between the checkpoint of step 16 and its result leaves it.
    folder = tmp_path / "run"
    shutil.rmtree(folder / "model")
    (folder / "result.json").unlink()
    newest = max((folder / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
    assert newest.name == "step-20"
    shutil.rmtree(newest)
    done = run(launch, f"resume={folder}")
    assert "resumed" in done.stdout or "step 16" in done.stdout
    assert_same(folder, tmp_path / "whole")


def test_a_longer_run_has_the_longer_schedule(launch: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [*WORDS, "training.log_every=1", f"hydra.run.dir={folder}"]
    words.remove("training.log_every=7")
    run(launch, *words)
    short = read(folder / "metrics.jsonl")
    refused = launch(f"resume={folder}", env=ENV)
    assert refused.returncode == 2
    assert "the run is complete (completed; 60 steps" in refused.stderr
    assert result(folder)["status"] == "completed"
    run(launch, f"resume={folder}", "training.max_steps=90")
    assert result(folder)["steps"] == 90
    long = read(folder / "metrics.jsonl")
    assert long[: len(short)] == short

    words = [word for word in words if not word.startswith(("training.max_steps", "hydra"))]
    run(launch, *words, "training.max_steps=90", f"hydra.run.dir={tmp_path / 'straight'}")
    straight = {line["step"]: line["lr"] for line in read(tmp_path / "straight" / "metrics.jsonl") if "lr" in line}
    rates = {line["step"]: line["lr"] for line in long if "lr" in line}
    assert {step: rate for step, rate in rates.items() if step > 60} == {
        step: rate for step, rate in straight.items() if step > 60
    }
    assert rates[60] < straight[60], "the short schedule had come to its end"

    # Killed right after it was lengthened, it is not complete: its config is the longer one already.
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("max_steps: 90", "max_steps: 95"))
    run(launch, f"resume={folder}")
    assert result(folder)["steps"] == 95


def test_more_time(launch: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [word for word in WORDS if not word.startswith("training.max_")]
    slow = ["task._target_=tests.support.signalled.Slow", "+task.seconds=0.05"]
    run(
        launch,
        *words,
        *slow,
        "scheduler=constant",
        "training.max_epochs=null",
        "training.max_time=1s",
        f"hydra.run.dir={folder}",
    )
    first = result(folder)
    assert (first["status"], first["reason"]) == ("completed", "max_time")
    refused = launch(f"resume={folder}", env=ENV)
    assert refused.returncode == 2
    assert "It goes on with a larger training.max_time than 1s" in refused.stderr
    run(launch, f"resume={folder}", f"training.max_time={first['wall_s'] + 2}s")
    second = result(folder)
    assert second["reason"] == "max_time"
    assert second["steps"] > first["steps"]
    steps = [line["step"] for line in lines(folder)]
    assert steps == sorted(steps)


def test_a_run_that_was_stopped_goes_on_if_it_is_lengthened(launch: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    stopping = ["stopping=[val_loss]", "stopping.val_loss.patience=1", "stopping.val_loss.min_delta=100"]
    run(launch, *WORDS, *stopping, f"hydra.run.dir={folder}")
    assert (result(folder)["status"], result(folder)["steps"]) == ("stopped", 40)
    assert launch(f"resume={folder}", env=ENV).returncode == 2
    run(launch, f"resume={folder}", "training.max_steps=80")
    assert (result(folder)["status"], result(folder)["steps"]) == ("stopped", 60)


def test_torn_and_lost_files(launch: Launch, tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "run"
    run(launch, *WORDS, f"hydra.run.dir={whole}")
    shutil.copytree(whole, folder, symlinks=True)

    def unfinish() -> None:
        (folder / "result.json").unlink()
        shutil.rmtree(folder / "model")

    checkpoints = folder / "checkpoints"
    unfinish()
    file = checkpoints / "step-60" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    (checkpoints / "last").unlink()
    (checkpoints / "last").symlink_to("step-70")
    done = run(launch, f"resume={folder}")
    assert "warning: checkpoint step-60 is torn (state.safetensors has " in done.stdout
    assert "): falling back to step-50\n" in done.stdout
    assert_same(folder, whole)

    unfinish()
    for step in checkpoints.glob("step-*"):
        (step / "manifest.json").unlink()
    done = run(launch, f"resume={folder}")
    assert done.stdout.count("is torn (manifest.json is missing)") == len(list(checkpoints.glob("step-*")))
    assert "starting over" in done.stdout
    assert_same(folder, whole)

    unfinish()
    manifest = checkpoints / "step-60" / "manifest.json"
    manifest.write_text('{"format": 7}')
    refused = launch(f"resume={folder}", env=ENV)
    assert refused.returncode == 2
    assert refused.stderr.strip().endswith("step-60 is of format 7; this version reads format 2")


def test_the_best_one_is_lost(launch: Launch, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = [*WORDS, "objective.metric=val/loss", "objective.direction=maximize", "training.keep_checkpoints=1"]
    run(launch, *words, f"hydra.run.dir={folder}")
    best = result(folder)["best_step"]
    assert best == 20
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best", "last", "step-20", "step-60"}
    (folder / "result.json").unlink()
    (folder / "checkpoints" / "step-20" / "model.safetensors").unlink()
    done = run(launch, f"resume={folder}")
    assert (
        "checkpoint step-20, the best, is torn (model.safetensors is missing): model/ holds the last weights"
        in done.stdout
    )
    assert result(folder)["best_step"] is None
    last = [line for line in lines(folder) if "val/loss" in line][-1]
    assert result(folder)["objective"]["value"] == last["val/loss"]


@pytest.mark.slow
def test_from_one_rank_to_two_and_back(launch: Launch, tmp_path: Path) -> None:
    """Without dropout the mathematics is the same on any number of ranks, up to the order of the sums."""
    words = [word for word in WORDS if "dropout" not in word]
    words += ["scheduler=constant"]  # which does not follow training.max_steps
    run(launch, *words, f"hydra.run.dir={tmp_path / 'whole'}")
    folder = interrupted(launch, tmp_path, *words)
    run(launch, f"resume={folder}", "parallel=ddp", "parallel.num_processes=2", "training.max_steps=40")
    run(launch, f"resume={folder}", "parallel=single", "training.max_steps=60")
    left, right = lines(tmp_path / "whole"), lines(folder)
    shared = [line for line in left if "train/loss" in line and line["step"] <= 21]
    assert [line for line in right if "train/loss" in line and line["step"] <= 21] == shared
    at = {line["step"]: line["train/loss"] for line in left if "train/loss" in line}
    other = {line["step"]: line["train/loss"] for line in right if "train/loss" in line}
    # The line of the second half's end, step 40, took five of the losses that the whole run's line of step 42 holds.
    assert 40 not in at
    for step in set(at) - {42}:
        assert other[step] == pytest.approx(at[step], rel=1e-4)
