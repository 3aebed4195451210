"""From the command line to the config: what composes, what it says, and what it leaves alone."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra._internal.hydra import Hydra
from omegaconf import OmegaConf

from launcher import CONF, __version__
from launcher.__main__ import main
from launcher.config import compose, resume, schema
from launcher.config.checks.nodes import check
from launcher.errors import ConfigError
from tests.support.harness import cold, environment


@pytest.fixture
def hydra() -> Iterator[Hydra]:
    with compose.session() as opened:
        yield opened


def test_the_default_is_whole_and_plain(hydra: Hydra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    composed = compose.compose(hydra, [])
    check(composed.config, composed.origins)
    config = composed.config
    assert OmegaConf.get_type(config.training) is schema.Training
    assert (config.task._target_, config.model._target_) == (
        "launcher.tasks.image_classification.ImageClassification",
        "launcher.tasks.models.cnn.CNN",
    )
    assert (config.objective.metric, config.training.max_epochs, config.seed) == ("val/accuracy", 30, 0)
    assert list(config.tracker) == ["tensorboard"]
    assert "hydra" not in config
    with pytest.raises(Exception, match="not_a_key"):
        config.optimizer.not_a_key = 1
    assert list(tmp_path.iterdir()) == [], "composing writes nothing"
    assert Path.cwd() == tmp_path


def test_the_folder_of_a_run(hydra: Hydra) -> None:
    folders = [compose.compose(hydra, []).folder for _ in range(2)]
    for folder in folders:
        assert re.fullmatch(r"outputs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-[0-9a-f]{4}", str(folder))
    assert folders[0] != folders[1]
    assert compose.compose(hydra, ["hydra.run.dir=here/${name}", "name=it"]).folder == Path("here/it")


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["debug=true"], "debug.traceback", True),
        (["debug=false"], "debug.traceback", False),
        (["debug=null"], "debug.traceback", False),
        (["debug=one_batch"], "debug.one_batch", True),
        (["debug=overfit"], "debug.overfit_batches", 1),
        (["debug.detect_anomaly=true"], "debug.detect_anomaly", True),
        (["tracker=[]"], "tracker", {}),
        (["tracker=null"], "tracker", {}),
        (["tracker=tensorboard"], "tracker", {"tensorboard": {"_target_": "launcher.trackers.tensorboard.TensorBoard"}}),
        (["regularization=[label_smoothing]", "regularization.label_smoothing.smoothing=0.2"], "regularization.label_smoothing.smoothing", 0.2),
        (["num_seeds=3"], "num_seeds", 3),
        (["seed=7"], "validation.seed", 7),
        (["task=tabular", "data=wine", "model=random_forest"], "model._target_", "sklearn.ensemble.RandomForestClassifier"),
        (["task=tabular", "data=diabetes"], "model._target_", "sklearn.ensemble.RandomForestRegressor"),
        (["task=tabular", "data=diabetes"], "objective.direction", "minimize"),
        (["task=text_classification"], "data._target_", "launcher.tasks.data.stdlib.StdlibSnippets"),
        (["model=mlp", "task=image_classification"], "model._target_", "launcher.tasks.models.mlp.MLP"),
        (["experiment=digits", "optimizer=sgd", "training.max_epochs=3"], "training.max_epochs", 3),
        (["experiment=wine", "model=svm"], "model._target_", "sklearn.svm.SVC"),
        (["training.max_time=1h30m"], "training.max_time", "1h30m"),
        (["+optimizer.amsgrad=true"], "optimizer.amsgrad", True),
        (["scheduler=step", "scheduler.step_size=steps_per_epoch"], "scheduler.step_size", "steps_per_epoch"),
    ],
)  # fmt: skip
def test_overrides(hydra: Hydra, words: list[str], key: str, value: object) -> None:
    composed = compose.compose(hydra, words)
    check(composed.config, composed.origins)
    found = OmegaConf.select(composed.config, key)
    assert (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found) == value


def test_a_folder_of_ones_own_comes_first(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "adamw.yaml").write_text("_target_: torch.optim.AdamW\n_partial_: true\nlr: 0.125\n")
    (tmp_path / "optimizer" / "slow.yaml").write_text("defaults:\n  - sgd\nlr: 1.0e-6\n")
    (tmp_path / "mine.yaml").write_text("defaults:\n  - config\n  - _self_\nseed: 11\n")
    with compose.session(str(tmp_path)) as hydra:
        assert compose.compose(hydra, []).config.optimizer.lr == 0.125
        slow = compose.compose(hydra, ["optimizer=slow"]).config.optimizer
        assert (slow.lr, slow._target_) == (1e-6, "torch.optim.SGD")
        own = compose.compose(hydra, [], "mine").config
        assert (own.seed, own.optimizer.lr) == (11, 0.125)


def test_where_a_key_comes_from(hydra: Hydra) -> None:
    origins = compose.compose(hydra, ["optimizer.lr=0.1", "task=tabular"]).origins
    lines = (CONF / "optimizer" / "adamw.yaml").read_text().splitlines()
    assert origins("optimizer.lr") == "optimizer.lr=0.1"
    assert origins("optimizer.eps") == f"conf/optimizer/adamw.yaml:{lines.index('eps: 1.0e-8') + 1}: optimizer.eps"
    assert origins("tracker.tensorboard._target_").startswith("conf/tracker/tensorboard.yaml:")
    assert origins("training.max_epochs").startswith("conf/task/tabular.yaml:")
    assert origins("training.clip_norm") == "training.clip_norm"


def run_of(folder: Path, hydra: Hydra, *words: str) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(compose.compose(hydra, list(words)).config))
    return folder


def test_resume_keeps_the_runs_own_config(hydra: Hydra, tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", hydra, "optimizer=sgd", "optimizer.lr=0.3", "seed=5", "model.width=24")
    composed = resume.resume(hydra, [f"resume={folder}"], "config")
    saved = OmegaConf.load(folder / "config.yaml")
    assert OmegaConf.to_container(composed.config) == OmegaConf.to_container(saved)
    assert composed.folder == folder


def test_resume_takes_over_what_may_change(hydra: Hydra, tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", hydra, "optimizer.lr=0.3", "training.batch_size=16")
    words = [
        f"resume={folder}",
        "parallel=ddp",
        "parallel.num_processes=4",
        "tracker=[]",
        "training.max_steps=7",
        "debug=true",
        "loading.num_workers=2",
    ]
    config = resume.resume(hydra, words, "config").config
    assert (config.parallel._target_, config.parallel.num_processes) == ("launcher.parallel.ddp.DDP", 4)
    assert (config.tracker, config.training.max_steps, config.debug.traceback, config.loading.num_workers) == (
        {},
        7,
        True,
        2,
    )
    assert (config.optimizer.lr, config.training.batch_size) == (0.3, 16), "all else is the run's"


def test_resume_sets_keys_of_what_the_run_chose(hydra: Hydra, tmp_path: Path) -> None:
    """`parallel.timeout_s` is ddp's; the default experiment, which is not asked, has none."""
    folder = run_of(tmp_path / "run", hydra, "parallel=ddp")
    config = resume.resume(hydra, [f"resume={folder}", "parallel.timeout_s=30"], "config").config
    assert config.parallel.timeout_s == 30


@pytest.mark.parametrize(
    ("status", "words", "goes_on"),
    [
        ("completed", [], False),
        ("completed", ["training.max_epochs=31"], True),
        ("completed", ["training.max_epochs=31", "training.max_steps=1350"], False),
        ("completed", ["training.max_epochs=null", "training.max_steps=1351"], True),
        ("completed", ["training.max_epochs=31", "training.max_time=10s"], False),
        ("stopped", [], False),
        ("stopped", ["training.max_epochs=31"], True),
        ("pruned", [], False),
        ("preempted", [], True),
        ("failed", [], True),
    ],
)
def test_whether_a_run_is_complete(status: str, words: list[str], goes_on: bool, hydra: Hydra, tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", hydra)
    done = f'"status": "{status}", "reason": "why", "steps": 1350, "epochs": {12.5 if status == "stopped" else 30.0}, "wall_s": 12.0, "objective": {{}}, "metrics": {{}}'
    (folder / "result.json").write_text(f"{{{done}}}")
    command = [f"resume={folder}", *words]
    if goes_on:
        assert resume.resume(hydra, command, "config").folder == folder
    else:
        with pytest.raises(ConfigError, match="the run is complete"):
            resume.resume(hydra, command, "config")


# -- the inspecting flags


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def test_cfg_shows_what_a_run_would_have(hydra: Hydra, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["optimizer=sgd", "debug=true", "tracker=null"]
    composed = compose.compose(hydra, words).config
    assert OmegaConf.create(shown(capsys, "--cfg", "job", "--resolve", *words)) == OmegaConf.create(
        OmegaConf.to_container(composed)
    )  # type: ignore[arg-type]
    assert "seed: ${seed}" in shown(capsys, "--cfg", "job")
    assert (
        shown(capsys, "--cfg", "job", "-p", "precision")
        == "# @package precision\n_target_: launcher.memory.precision.Precision\ndtype: float32\n"
    )
    assert "output_subdir: null" in shown(capsys, "--cfg", "hydra")


def test_help_lists_every_group_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--help")
    for group in sorted({path.parent for path in CONF.glob("*/*.yaml")} - {CONF / "hydra"}):
        assert f"{group.name}: {', '.join(sorted(path.stem for path in group.glob('*.yaml')))}\n" in text
    for word in ("experiment=", "resume=", "optimizer.lr", "training.max_epochs", "--config-dir", "-m "):
        assert word in text
    assert "${" not in text


def test_every_key_that_help_names_is_one(hydra: Hydra, capsys: pytest.CaptureFixture[str]) -> None:
    config = compose.compose(hydra, []).config
    keys = set(re.findall(r"\b((?:optimizer|scheduler|training|objective)\.[a-z_]+)=", shown(capsys, "--help")))
    assert len(keys) >= 9
    assert [key for key in keys if OmegaConf.select(config, key, default="none") == "none"] == []


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--version"], f"launcher {__version__}\n"),
        (["--info", "defaults"], "optimizer/adamw"),
        (["--hydra-help"], "--multirun"),
    ],
)
def test_the_other_flags(flags: list[str], word: str, tmp_path: Path) -> None:
    done = cold(*flags, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert word in done.stdout


def test_nothing_heavy_is_imported_to_show_something(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom launcher.__main__ import main\n"
        "assert main(['--help']) == 0 and main(['--cfg', 'job']) == 0 and main(['--info', 'defaults']) == 0\n"
        "print(sorted({'torch', 'accelerate', 'numpy', 'sklearn', 'transformers', 'rich'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert list(tmp_path.iterdir()) == []


BASH = """
set -e
mkdir bin
printf '#!/bin/sh\\nexec "%s" -m launcher "$@"\\n' "$PYTHON" > bin/launcher
chmod +x bin/launcher
export PATH="$PWD/bin:$PATH"
eval "$(launcher -sc install=bash)"
complete_line() {
    COMP_LINE="launcher $1"; COMP_WORDS=(launcher $1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_POINT=${#COMP_LINE}
    hydra_bash_completion
    printf '%s\\n' "${COMPREPLY[@]}"
}
complete_line "optimizer=a"; echo --; complete_line "optimizer=sgd optimizer.mom"; echo --; complete_line "task=tabular model=random_forest model.n_"
"""


def test_completion_in_bash(tmp_path: Path) -> None:
    """The function that Hydra installs, called as bash calls it."""
    env = environment({"PYTHON": sys.executable})
    done = subprocess.run(["bash", "-c", BASH], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    options, keys, deep = (set(part.split()) for part in done.stdout.split("--\n"))
    assert options == {f"optimizer={path.stem}" for path in (CONF / "optimizer").glob("a*.yaml")}
    assert keys == {"optimizer.momentum="}
    assert deep == {"model.n_estimators="}


def test_an_interrupt_ends_quietly(tmp_path: Path) -> None:
    """Ctrl-C while nothing has been started: no traceback, the status that shells know."""
    program = (
        "import os, signal, sys\nfrom launcher.__main__ import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background\n"
        "class Late(list):\n    def __iter__(self):\n        os.kill(os.getpid(), signal.SIGINT)\n        return super().__iter__()\n"
        "sys.exit(main(Late(['--cfg', 'job'])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_the_pipe_may_close_early(tmp_path: Path) -> None:
    template = "hydra.help.template='" + "$CONFIG" * 40 + "'"  # more than a pipe holds
    for words in ("--cfg job", f"--help {shlex.quote(template)}"):
        command = f'"{sys.executable}" -m launcher {words} | head -1'
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("format: 2\n", "")
    assert list(tmp_path.iterdir()) == []


def test_trials_that_share_their_options_compose_alike(hydra: Hydra) -> None:
    known: compose.Known = {}
    for words in (["model=mlp", "optimizer.lr=0.1"], ["model=mlp", "seed=3"], ["model=cnn", "seed=3"], ["model=mlp"]):
        alone = compose.compose(hydra, words, trial=True).config
        assert OmegaConf.to_container(compose.compose(hydra, words, trial=True, known=known).config) == alone
    assert sorted(known) == [("model=cnn",), ("model=mlp",)]
