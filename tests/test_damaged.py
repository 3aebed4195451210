"""Broken folders: every file of a run and of a sweep, damaged in every way, under every action that reads it.

Each is either no matter to the action or refused in one line that names the file and says what can still be done.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.__main__ import main
from tests.harness import Warm

RUN = ["model=mlp", "training.max_steps=20", "training.max_epochs=null", "training.eval_every=10", "tracker=[]"]
TABLE = ["task=tabular", "data=wine", "model=logistic_regression", "tracker=[]"]


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: _replaced(path, b""),
    "a list": lambda path: _replaced(path, b"[1]\n"),
    "an object": lambda path: _replaced(path, b'{"a": 1}\n'),
    "a part": _half,
    "not UTF-8": lambda path: _replaced(path, b"\xff\xfe\x80seed: 1\n"),
    "torn": lambda path: _replaced(path, b"format: 1\nseed: [1\n"),
    "nested": lambda path: _replaced(path, b"[" * 100_000),
    "zeros": lambda path: _replaced(path, bytes(4096)),
    "a folder": _folder,
    "a pipe": _pipe,
    "dangling": _dangling,
}

FILES = {
    "run": [
        "config.yaml", "result.json", "metrics.jsonl", "provenance.json", "evidence.json",
        "checkpoints/step-10/manifest.json", "checkpoints/step-20/manifest.json",
        "checkpoints/step-20/model.safetensors", "checkpoints/step-20/state.safetensors",
        "model/model.safetensors", "model/config.json",
    ],
    "table": ["config.yaml", "result.json", "model/model.skops", "model/config.json"],
    "multirun/study": ["sweep.json", "trials.csv", "study.journal", "0/config.yaml", "0/result.json", "0/provenance.json"],
}  # fmt: skip

ACTIONS = {
    "evaluate": "action=evaluate run={}",
    "export": "action=export run={}",
    "report": "action=report run={}",
    "status": "action=status run={}",
    "resume": "resume={}",
    "compare": "action=compare runs=[{},other]",
    "replay": "action=replay run={} tracker=[tensorboard]",
}
OF_A_SWEEP = {name: ACTIONS[name] for name in ("report", "status", "compare")}


@pytest.fixture(scope="module")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, one of an estimator, a sweep, and another run to compare with."""
    cwd = tmp_path_factory.mktemp("whole")
    sweep = ["-m", *RUN, "optimizer.lr=0.01,0.001", "hydra.sweeper.study_name=study", "hydra.sweeper.n_jobs=1"]
    for words in ([*RUN, "hydra.run.dir=run"], [*TABLE, "hydra.run.dir=table"], sweep):
        done = warm(*words, cwd=cwd)
        assert done.returncode == 0, done.stderr
    shutil.copytree(cwd / "run", cwd / "other", symlinks=True)
    return cwd


CASES = [
    (of, file, action)
    for of, files in FILES.items()
    for file in files
    for action in (OF_A_SWEEP if "/" in of else ACTIONS)
]


@pytest.mark.parametrize(("of", "file", "action"), CASES)
def test_every_file_damaged_in_every_way(
    of: str,
    file: str,
    action: str,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = []
    for name, damage in DAMAGES.items():
        place = tmp_path / name.replace(" ", "-")
        shutil.copytree(whole, place, symlinks=True, ignore=shutil.ignore_patterns(".printed*"))
        monkeypatch.chdir(place)
        damage(place / of / file)
        try:
            status = main(ACTIONS[action].format(of).split())
        except BaseException as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}")
            capsys.readouterr()
            continue
        said = capsys.readouterr().err
        lines = said.splitlines()
        if status == 0:
            fine = "Traceback" not in said
        else:
            fine = (status == 2 and len(lines) == 1 and file.rpartition("/")[2].partition(".")[0] in said) or (
                file in said
            )
        if not fine or "Traceback" in said:
            wrong.append(f"{name}: {status}: {said}")
        else:
            print("    ", of, file, action, name, status, said.strip())
    assert not wrong, "\n".join(wrong)
