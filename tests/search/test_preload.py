"""Modules of a person's own are imported once, by the server that trials are forked from, and not by each trial."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.artifacts.folder import LOCK
from tests.conftest import Launch
from tests.support.harness import environment

PACKAGE = """
import os
from pathlib import Path
from launcher.tasks.models.mlp import MLP
with Path(os.environ["SEEN"]).open("a") as file:
    file.write(f"{os.getpid()}\\n")
class Net(MLP):
    pass
"""
ENTRY = "_target_: own_package.net.Net\n_partial_: true\nwidth: 8\n"
PRESET = "# @package _global_\ndefaults:\n  - override /model: own\n"


@pytest.mark.parametrize("words", [("model=own",), ("model=mlp,own",), ("experiment=own,other",)])
def test_trials_find_it_imported(launch: Launch, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Whether the command names it, or an option that is searched, or a preset that is."""
    if Path("/proc/driver/nvidia/gpus").is_dir():
        pytest.skip("beside a GPU it is left to the trials")
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").touch()
    (tmp_path / "own_package" / "net.py").write_text(PACKAGE)
    for name, text in (("model/own", ENTRY), ("experiment/own", PRESET), ("experiment/other", PRESET)):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / f"{name}.yaml").write_text(text)
    seen = tmp_path / "seen"
    outcome = launch(
        "--config-dir", "mine", "-m", *words, "seed=1,2", "tracker=[]", "training.max_steps=2", "hydra.sweeper.study_name=s",
        env={"LAUNCHER_TRUST": "own_package.*", "SEEN": str(seen), "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    trials = {path.read_text() for path in (tmp_path / "multirun" / "s").glob(f"*/{LOCK}")}
    assert len(trials) == 2 * len(words[0].split(","))
    assert seen.exists()
    assert not trials & set(seen.read_text().split())


def test_a_module_that_fails_is_left_to_the_trial(tmp_path: Path) -> None:
    (tmp_path / "breaks.py").write_text("print('too early'); raise RuntimeError('no')")
    (tmp_path / "works.py").write_text("print('too loud'); VALUE = 1")
    env = environment({"LAUNCHER_PRELOAD": "breaks,nowhere.at.all,works"})
    env["PYTHONPATH"] += os.pathsep + str(tmp_path)
    code = "import sys, launcher.process.foreign_modules; print(sorted({'breaks', 'works'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=200)
    assert (done.stdout, done.stderr, done.returncode) == ("['works']\n", "", 0)
