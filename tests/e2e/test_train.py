"""One run by the real command: what it prints, what its folder holds, and that its config makes it again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from launcher import __version__
from launcher.artifacts.metrics_file import read
from tests.conftest import Launch
from tests.support.fits import curve
from tests.support.harness import Outcome, Warm

RUN = (
    "model=mlp",
    "training.max_epochs=2",
    "training.log_every=20",
    "training.accumulate=2",
    "training.clip_norm=1",
    "seed=4",
)
RESULT = {
    "status", "reason", "objective", "metrics", "best_step", "steps", "epochs", "wall_s", "steps_per_s", "samples_per_s", "world_size",
    "parameters", "trainable_parameters", "peak_memory_bytes", "seed", "versions", "git",
}  # fmt: skip
"""What scripts may rely on; more may stand there."""


@pytest.fixture(scope="module")
def ran(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    cwd = tmp_path_factory.mktemp("train")
    outcome = warm(*RUN, cwd=cwd)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.folder is not None
    return outcome, outcome.folder


def test_the_folder_is_the_run(ran: tuple[Outcome, Path]) -> None:
    _, folder = ran
    assert re.fullmatch(
        r"outputs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-[0-9a-f]{4}", str(folder.relative_to(folder.parents[2]))
    )
    shown = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert shown == {
        "config.yaml",
        "evidence.json",
        "provenance.json",
        "metrics.jsonl",
        "result.json",
        "checkpoints",
        "model",
        "report.html",
        "tensorboard",
    }
    assert {path.name for path in folder.iterdir()} - shown <= {".lock"}, "nothing half-written is left"
    checkpoints = folder / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} >= {"best", "last", "step-88"}
    assert (checkpoints / "last").readlink() == Path("step-88"), "a folder that is moved keeps them"
    for link in ("best", "last"):
        assert {path.name for path in (checkpoints / link).iterdir()} == {
            "manifest.json",
            "model.safetensors",
            "state.safetensors",
        }
    assert {path.name for path in (folder / "model").iterdir()} == {"config.json", "model.safetensors"}


def test_the_result_has_every_field_and_says_what_was(ran: tuple[Outcome, Path]) -> None:
    _, folder = ran
    result = json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)
    assert result.keys() >= RESULT
    accuracies = curve(folder, "val/accuracy")
    assert (result["status"], result["reason"], result["steps"], result["epochs"]) == (
        "completed",
        "max_epochs",
        88,
        2.0,
    )
    assert result["objective"] == {"name": "val/accuracy", "value": max(accuracies.values()), "direction": "maximize"}
    assert accuracies[result["best_step"]] == max(accuracies.values())
    assert result["parameters"] == result["trainable_parameters"] == 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
    assert (result["world_size"], result["seed"]) == (1, 4)
    assert result["versions"]["launcher"] == __version__
    assert {"python", "torch", "accelerate", "hydra-core", "numpy"} <= result["versions"].keys()
    assert result["git"] is None, "the run's folder is in no repository"
    assert 0 < result["wall_s"] < 600
    assert result["samples_per_s"] == pytest.approx(32 * result["steps_per_s"])
    assert result["peak_memory_bytes"] > 50 << 20
    assert result["metrics"]["train/loss"] == curve(folder)[88]


def test_every_line_of_the_metrics_has_its_place(ran: tuple[Outcome, Path]) -> None:
    _, folder = ran
    lines = read(folder / "metrics.jsonl")
    assert all(list(line)[:3] == ["step", "epoch", "time_s"] for line in lines)
    assert all(line["epoch"] == pytest.approx(line["step"] / 44, abs=1e-6) for line in lines)
    times = [line["time_s"] for line in lines]
    assert times == sorted(times)
    assert list(curve(folder)) == list(curve(folder, "lr")) == [20, 40, 60, 80, 88]
    assert list(curve(folder, "val/loss")) == list(curve(folder, "val/f1")) == [44, 88]
    assert all(isinstance(value, float | int) for line in lines for value in line.values())


def test_what_is_printed_is_plain_and_names_the_folder(ran: tuple[Outcome, Path]) -> None:
    outcome, folder = ran
    assert "\x1b" not in outcome.stdout
    assert "\r" not in outcome.stdout
    assert outcome.stderr == ""
    for words in (
        "ImageClassification",
        "26,122 parameters",
        "1,438 to train on, 359 to validate on",
        "val/accuracy",
        folder.name,
    ):
        assert words in outcome.stdout
    best = json.loads((folder / "result.json").read_text())["objective"]["value"]
    assert f"{best:.4f}" in outcome.stdout


def test_its_config_makes_it_again(ran: tuple[Outcome, Path], launch: Launch, tmp_path: Path) -> None:
    _, folder = ran
    again = launch("--config-dir", str(folder), "--config-name", "config", "hydra.run.dir=again")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "config.yaml").read_bytes() == (folder / "config.yaml").read_bytes()
    for name in ("train/loss", "lr", "val/loss", "val/accuracy"):
        assert curve(tmp_path / "again", name) == curve(folder, name)
    weights = [(each / "model" / "model.safetensors").read_bytes() for each in (folder, tmp_path / "again")]
    assert weights[0] == weights[1]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["training"]["batch_size"] == 32
    assert "${" not in (folder / "config.yaml").read_text()


def test_another_seed_is_another_run(ran: tuple[Outcome, Path], launch: Launch, tmp_path: Path) -> None:
    _, folder = ran
    outcome = launch(*(word for word in RUN if not word.startswith("seed")), "hydra.run.dir=other")
    assert outcome.returncode == 0
    one, other = curve(folder), curve(tmp_path / "other")
    assert one.keys() == other.keys()
    assert all(one[step] != other[step] for step in one)


@pytest.mark.slow
def test_compiled_is_the_same_mathematics(launch: Launch, tmp_path: Path) -> None:
    """One step and one batch of evaluation through torch.compile: it has to find the compiler on its own."""
    words = [
        "model=mlp",
        "model.depth=1",
        "model.width=16",
        "tracker=[]",
        "debug=one_batch",
        "training.batch_size=256",
        "scheduler=constant",
    ]
    for name, compiled in (("plain", "false"), ("compiled", "true")):
        outcome = launch(
            *words,
            f"training.compile={compiled}",
            f"hydra.run.dir={name}",
            env={"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")},
        )
        assert outcome.returncode == 0, outcome.stderr
    for metric in ("train/loss", "val/loss"):
        assert curve(tmp_path / "compiled", metric) == pytest.approx(curve(tmp_path / "plain", metric), rel=1e-5)
    plain, compiled = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("plain", "compiled"))
    assert plain.keys() == compiled.keys()
    assert list((tmp_path / "cache").rglob("*.so")), "something was compiled"
