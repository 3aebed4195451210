"""Hydra's own keys: what a run knows of itself, what a preset says, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.conftest import Launch

RUN = ("model=mlp", "tracker=[]", "debug=true")
FACTS = "notes='${hydra:job.num} ${hydra:job.id} ${hydra:sweep.dir} ${hydra:sweep.subdir} ${hydra:runtime.output_dir}'"


def notes(folder: Path) -> str:
    found: str = yaml.safe_load((folder / "config.yaml").read_text())["notes"]
    return found


def test_a_trial_knows_its_number_and_its_folders(launch: Launch, tmp_path: Path) -> None:
    outcome = launch("-m", *RUN, FACTS, "seed=3,4", "hydra.sweep.dir=swept", "hydra.sweeper.study_name=s")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    for number in (0, 1):
        own = tmp_path / "swept" / "s" / str(number)
        assert notes(own) == f"{number} s-{number} swept {number} {own}"


def test_the_name_of_the_overrides_has_the_swept_key(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(
        "-m", "model=mlp", "tracker=[]", "training.max_steps=1", "notes=${hydra:job.override_dirname}", "seed=3,4",
        "hydra.sweeper.study_name=s", "hydra.job.config.override_dirname.exclude_keys=[notes,tracker]",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    found = [set(notes(tmp_path / "multirun" / "s" / str(number)).split(",")) for number in (0, 1)]
    assert found == [{"model=mlp", "training.max_steps=1", f"seed={seed}"} for seed in (3, 4)]


def test_a_run_knows_its_folder_and_may_be_named_after_its_words(launch: Launch, tmp_path: Path) -> None:
    outcome = launch(
        "model=mlp", "tracker=[]", "training.max_steps=1", "seed=3", "notes=${hydra:runtime.output_dir}", "hydra.run.dir=runs/${hydra:job.override_dirname}",
        "hydra.job.config.override_dirname.exclude_keys=[notes,tracker]",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    (own,) = (tmp_path / "runs").iterdir()
    assert set(own.name.split(",")) == {"model=mlp", "training.max_steps=1", "seed=3"}
    assert notes(own) == str(own)


def test_a_preset_says_where_runs_and_sweeps_lie(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "here.yaml").write_text(
        "# @package _global_\nhydra:\n  run:\n    dir: of_preset/run\n  sweep:\n    dir: of_preset/sweeps\n"
    )
    words = ("--config-dir", str(tmp_path / "own"), "experiment=here", *RUN)
    single, several = launch(*words), launch("-m", *words, "seed=3,4", "hydra.sweeper.study_name=s")
    assert (single.returncode, several.returncode) == (0, 0), single.stderr + several.stderr
    assert (tmp_path / "of_preset" / "run" / "result.json").exists()
    assert (tmp_path / "of_preset" / "sweeps" / "s" / "1" / "result.json").exists()
    typed = launch(*words, "hydra.run.dir=of_command")
    assert typed.returncode == 0, typed.stderr
    assert (tmp_path / "of_command" / "result.json").exists(), "a word of the command comes last"


def test_a_study_without_a_name_lies_in_the_folder_itself(launch: Launch, tmp_path: Path) -> None:
    words = ("-m", *RUN, "seed=3,4", "hydra.sweep.dir=plain", "hydra.sweeper.study_name=.")
    outcome = launch(*words)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert (tmp_path / "plain" / "1" / "result.json").exists()
    assert (tmp_path / "plain" / "trials.csv").exists()
    again = launch(*words)
    assert again.returncode == 0, again.stderr
    assert "2 of them done already" in again.stdout


def test_where_a_sweep_lies_is_said(launch: Launch, tmp_path: Path) -> None:
    outcome = launch("-m", *RUN, "seed=3,4", "hydra.sweep.dir=X", "hydra.sweeper.study_name=s")
    assert (
        "hydra.sweep.dir=X: this study is X/s, its trials X/s/0, …; hydra.sweeper.study_name=. is X/0" in outcome.stdout
    )


@pytest.mark.parametrize("flag", [(), ("-m",)])
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("hydra.sweep.subdir=here", "hydra.sweep.subdir=here: a trial's folder is its number"),
        ("hydra.job.chdir=true", "hydra.job.chdir=true: a run stays in the folder of its command"),
        ("+hydra.callbacks.mine._target_=a.B", "hydra.callbacks.mine._target_=a.B: no callback of Hydra's is called"),
        ("hydra.job.env_copy=[HOME]", "a run has the environment of its command"),
        ("hydra.output_subdir=here", "hydra.output_subdir=here: a run's folder holds its config.yaml"),
        ("hydra/job_logging=disabled", "hydra/job_logging=disabled: what a run prints goes to the terminal"),
        ("hydra.verbose=true", "hydra.verbose=true: debug=true shows more"),
    ],
)
def test_a_key_that_would_change_nothing_is_refused(
    launch: Launch, tmp_path: Path, flag: tuple[str, ...], word: str, message: str
) -> None:
    outcome = launch(*flag, "model=mlp", word, "seed=1,2" if flag else "seed=1")
    assert outcome.returncode == 2, outcome.stdout
    assert message in outcome.stderr
    assert not [*tmp_path.glob("outputs"), *tmp_path.glob("multirun")]


def test_another_launcher_of_hydra_s_is_refused(launch: Launch, tmp_path: Path) -> None:
    """A plugin's group, as hydra-joblib-launcher's, stands for any that is installed."""
    folder = tmp_path / "own" / "hydra" / "launcher"
    folder.mkdir(parents=True)
    (folder / "joblib.yaml").write_text(
        "_target_: hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher\n"
    )
    outcome = launch("-m", "--config-dir", str(tmp_path / "own"), "model=mlp", "seed=1,2", "hydra/launcher=joblib")
    assert outcome.returncode == 2, outcome.stdout
    assert "hydra/launcher=joblib: trials are run by hydra.sweeper.n_jobs=…" in outcome.stderr
    for name in ("basic", "submitit_local"):
        fine = launch("-m", *RUN, "seed=1,2", f"hydra/launcher={name}", "action=plan")
        assert fine.returncode == 0, fine.stderr
