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
from tests.support.harness import Warm

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
    "torn": lambda path: _replaced(path, b"format: 2\nseed: [1\n"),
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
    "resume": "resume={} training.max_steps=22",
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


BRIEF = ("a list", "a part", "a folder")
"""The damages for the actions that build the run: each of these takes a second."""
CASES = [
    (of, file, action)
    for of, files in FILES.items()
    for file in files
    for action in (OF_A_SWEEP if "/" in of else ACTIONS)
]
pytestmark = pytest.mark.slow


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
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole / "other", "other", symlinks=True)
    for name in DAMAGES if action in OF_A_SWEEP else BRIEF:
        if Path(of).exists():
            shutil.rmtree(of)
        shutil.copytree(whole / of, of, symlinks=True)
        DAMAGES[name](Path(of) / file)
        try:
            status = main(ACTIONS[action].format(of).split())
        except Exception as error:
            status = f"{type(error).__name__}: {error}"
        said = capsys.readouterr().err
        # A file that the action does not need is no matter; a trial that is damaged is one row of a sweep's status.
        named = Path(file).name in said or Path(file).parent.name in said
        if not (status == 0 or (status in (1, 2) and len(said.splitlines()) == 1 and named)) or "Traceback" in said:
            wrong.append(f"{name}: {status}: {said}")
    assert not wrong, "\n".join(wrong)


def test_what_is_said(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file, what is wrong with it, and what can be done."""
    monkeypatch.chdir(tmp_path)

    def said(damage: Callable[[Path], None], file: str, command: str) -> str:
        if Path("run").exists():
            shutil.rmtree("run")
        shutil.copytree(whole / "run", "run", symlinks=True)
        damage(Path("run") / file)
        assert main(command.split()) == 2
        return capsys.readouterr().err

    left = "nothing can be done without it; still here: result.json, metrics.jsonl, checkpoints, model, report.html"
    assert said(DAMAGES["empty"], "config.yaml", "resume=run") == f"error: run/config.yaml: empty; {left}\n"
    again = "take it away, and resume=run goes on from the last checkpoint and writes it anew"
    expected = f"error: run/result.json: a list, where an object is expected; {again}\n"
    assert said(DAMAGES["a list"], "result.json", "action=report run=run") == expected
    torn = said(_half, "checkpoints/step-20/model.safetensors", "action=evaluate run=run")
    assert torn.startswith(("error: run/checkpoints/step-20: torn: model.safetensors has ",))
    assert (
        "step-10 is whole: with run/checkpoints/step-20 and run/checkpoints/best taken away, action=evaluate takes that"
        in torn
    )
    gone = said(lambda path: shutil.rmtree(path), "checkpoints/step-20", "action=export run=run")
    assert gone == (
        "error: run/checkpoints/best: a link to step-20, which is not there; "
        "step-10 is whole: with run/checkpoints/best taken away, action=export takes that\n"
    )
    width = lambda path: path.write_text(path.read_text().replace("  width: ", "  width: 1"))  # noqa: E731
    other = said(width, "config.yaml", "action=evaluate run=run")
    assert other.startswith("error: run/checkpoints/step-20: not a checkpoint of the run that config.yaml describes")
