"""What a config, a folder or a study of somebody else may make happen: nothing but its own run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from launcher.config.instantiate import instantiate
from launcher.config.trust import NODES, misnamed
from launcher.errors import REFUSED, ConfigError
from tests.conftest import Launch
from tests.support.harness import environment

EVIL = "open('RAN', 'w').write('code of somebody else')\nclass Thing: ...\ndef thing(*args, **kwargs): ...\n"


def standing(folder: Path) -> set[str]:
    """What stands in a folder, but for what the command's output is kept in."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return {path for path in found if not path.startswith((".printed-", "__pycache__"))}


def refused(launch: Launch, tmp_path: Path, *words: str, env: Mapping[str, str] | None = None) -> str:
    """What is said of a command that is refused, that ran nothing of `evil.py` beside it, and left nothing behind."""
    (tmp_path / "evil.py").write_text(EVIL)
    before = standing(tmp_path)
    done = launch(*words, env={"PYTHONPATH": str(tmp_path), **(env or {})})
    assert done.returncode == REFUSED, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert standing(tmp_path) - before == set()
    return done.stderr


# -- what a target may be

FUNCTIONS = {
    "tracker": ["launcher.launch.local_pool.LocalPool.abort", "launcher.trackers.run_ids.write_id", "launcher.artifacts.metrics_file.read"],
    "data": ["launcher.process.forkserver.start_server", "launcher.launch.local_pool._run", "launcher.tasks.data.readers.read"],
    "model": [
        "launcher.search.output.retention._strip",
        "launcher.tasks.models.hub.blank",
        "sklearn.tree.export_graphviz",
        "sklearn.pipeline.make_pipeline",
        "sklearn.svm.SVC.fit",
        "sklearn.model_selection.train_test_split",
        "torch.nn.utils.clip_grad_norm_",
        "torch.nn.Module.apply",
        "hydra.utils.get_method",
    ],
    "optimizer": ["launcher.optim.groups.param_groups", "torch.optim.Adam.step", "torch.nn.Linear", "torch.optim.lr_scheduler.StepLR"],
    "scheduler": ["torch.optim.SGD", "transformers.optimization.get_scheduler"],
    "validation": ["sklearn.model_selection.cross_val_score", "launcher.data.splits._fraction", "sklearn.svm.SVC"],
    "task": ["launcher.tasks.base.encode_labels", "launcher.tasks.data.files.Files", "launcher.tasks.registry.register"],
    "parallel": ["launcher.core.communication.Communication", "launcher.core.collectives.Ranks"],
    "procedure": ["launcher.procedures.cross_validation.FILE", "launcher.data.splits.Holdout"],
    "memory": ["launcher.memory.activations.Recomputed"],
}  # fmt: skip


@pytest.mark.parametrize(("group", "target"), [(group, each) for group, names in FUNCTIONS.items() for each in names])
def test_a_target_is_a_class_of_its_group(group: str, target: str) -> None:
    """Functions, methods and classes of other groups are none, wherever an object is made."""
    with pytest.raises(ConfigError) as error:
        instantiate({"_target_": target, "_partial_": True}, group=group)
    assert target in str(error.value)


@pytest.mark.parametrize("group", [group for group in NODES if group != "model"])
def test_nothing_of_another_group_is_known_by_name(group: str) -> None:
    assert misnamed("torch.nn.Linear", group) is not None
    assert misnamed("os.system", group) is not None


NODES = {
    "nested": "{_target_: sklearn.pipeline.Pipeline, steps: [[a, {_target_: evil.Thing}]]}",
    "deep": "{_target_: sklearn.svm.SVC, kernel: {a: [{_target_: os.mkdir, path: made}]}}",
    "memory": "{_target_: sklearn.pipeline.Pipeline, steps: [], memory: cache}",
    "searched": "{_target_: sklearn.model_selection.GridSearchCV, estimator: {_target_: sklearn.svm.SVC}, param_grid: {memory: [cache]}}",
    "below": "{_target_: sklearn.model_selection.GridSearchCV, estimator: {_target_: sklearn.svm.SVC}, param_grid: {a__memory: [cache]}}",
    "input": "{_target_: sklearn.feature_extraction.text.CountVectorizer, input: filename}",
    "callable": "{_target_: sklearn.svm.SVC, kernel: {_target_: sklearn.svm.SVR, _partial_: true}}",
}


@pytest.mark.parametrize("name", NODES)
def test_arguments_are_looked_into(launch: Launch, tmp_path: Path, name: str) -> None:
    own = tmp_path / "own" / "model"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(NODES[name].replace("{_target_", "{_partial_: true, _target_", 1))
    said = refused(launch, tmp_path, "--config-dir=own", "task=tabular", "model=mine", "tracker=[]")
    wanted = {"nested": "evil.Thing", "deep": "os.mkdir", "input": "input=filename", "callable": "a callable"}
    assert wanted.get(name, "memory=") in said


IMPORTS = [
    ("optimizer._target_=evil.Thing",),
    ("notes=${architectures:evil.Thing,cnn}",),
    ("hydra.searchpath=[pkg://evil]",),
    ("-m", "task._target_=evil.Thing", "optimizer.lr=0.1,0.2"),
    ("-m", "model._target_=evil.Thing", "optimizer.lr=0.1,0.2", "search=automl"),
    ("-m", "optimizer.lr=0.1,0.2", "hydra.sweeper.sampler._target_=evil.thing"),
    ("-m", "optimizer.lr=0.1,0.2", "search=tpe", "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler._target_=evil.thing"),
    ("-m", "optimizer.lr=0.1,0.2", "search=halving", "hydra.sweeper.n_trials=2", "hydra.sweeper.pruner._target_=evil.thing"),
    ("-m", "optimizer.lr=0.1,0.2", "hydra.sweeper.custom_search_space=evil.thing"),
    ("-m", "optimizer.lr=0.1,0.2", "+hydra.sweeper.proxy._target_=evil.thing"),
]  # fmt: skip


@pytest.mark.parametrize("words", IMPORTS, ids=" ".join)
def test_nothing_is_imported_to_be_refused(launch: Launch, tmp_path: Path, words: tuple[str, ...]) -> None:
    refused(launch, tmp_path, *words, "tracker=[]")


# -- what only a person may say


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("setup", "[touch RAN]"),
        ("srun_args", "[--wrap]"),
        ("python", "./evil"),
        ("container", "./evil"),
        ("extra", "{wrap: x}"),
    ],
)
def test_a_file_says_nothing_that_a_shell_runs(launch: Launch, tmp_path: Path, key: str, value: str) -> None:
    own = tmp_path / "own" / "cluster"
    own.mkdir(parents=True)
    (own / "far.yaml").write_text(f"defaults: [slurm]\n{key}: {value}\n")
    words = ("--config-dir=own", "cluster=far", "action=plan")
    said = refused(launch, tmp_path, *words)
    assert f"which only you may say: type cluster.{key}=... yourself, or allow it: LAUNCHER_TRUST=cluster.{key}" in said
    assert launch(*words, env={"LAUNCHER_TRUST": f"cluster.{key}"}).returncode == 0


def test_a_value_does_not_end_its_line_in_a_script(launch: Launch, tmp_path: Path) -> None:
    said = refused(launch, tmp_path, "cluster=slurm", 'cluster.comment="a\ntouch RAN"', "action=plan")
    assert "would end its line in the job's script" in said
    assert "no control characters" in refused(launch, tmp_path, 'hydra.run.dir="a\ntouch RAN"')


def test_a_file_says_nothing_of_files_elsewhere(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "drawn.yaml").write_text("# @package _global_\nplan: {picture: .bashrc}\n")
    said = refused(launch, tmp_path, "--config-dir=own", "experiment=drawn", "action=plan")
    assert "plan.picture: a file to be written, which only you may say" in said


# -- names and places


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "a/b", "a\\\\b", "''", "'a\nb'"])
def test_a_study_lies_below_its_folder(launch: Launch, tmp_path: Path, name: str) -> None:
    words = ("-m", "optimizer.lr=0.1,0.2", f"hydra.sweeper.study_name={name}", "training.max_steps=1")
    assert "hydra.sweeper.study_name=" in refused(launch, tmp_path, *words)


@pytest.mark.parametrize(
    "words",
    [
        ("resume=",), ("hydra.run.dir=",), ('hydra.run.dir="  "',), ("action=evaluate", "run="), ("action=compare", "runs=['']"),
        ("action=status", "study="), ("-m", "optimizer.lr=0.1,0.2", "hydra.sweep.dir="), ("action=plan", "plan.picture="),
        ("task=tabular", "data=files", "data.path="),
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_empty_place_is_refused(launch: Launch, tmp_path: Path, words: tuple[str, ...]) -> None:
    """As `resume=$UNSET` leaves it: it would begin a new run, or train into the current folder."""
    assert "the value is empty" in refused(launch, tmp_path, *words)


def test_a_folder_handed_on_leads_nowhere_else(launch: Launch, tmp_path: Path) -> None:
    words = ("model=mlp", "tracker=[]", "training.max_steps=2", "hydra.run.dir=run")
    assert launch(*words).returncode == 0
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("evaluation.json", "report.html", ".config.yaml", "metrics.jsonl"):
        kept = theirs / name
        kept.write_text("mine")
        link = tmp_path / "run" / name
        link.unlink(missing_ok=True)
        link.symlink_to(kept)
        for command in (
            ("action=evaluate", "run=run"),
            ("action=report", "run=run"),
            ("resume=run", "training.max_steps=4"),
        ):
            said = refused(launch, tmp_path, *command)
            assert f"run/{name}: a link that leads out of the folder" in said
        assert kept.read_text() == "mine"
        link.unlink()


def test_a_run_s_config_takes_nothing_from_here(launch: Launch, tmp_path: Path) -> None:
    words = ("model=mlp", "tracker=[]", "training.max_steps=2", "hydra.run.dir=run")
    assert launch(*words).returncode == 0
    path = tmp_path / "run" / "config.yaml"
    path.write_text(path.read_text().replace("notes: null", "notes: ${oc.env:HOME}"))
    for command in (
        ("action=evaluate", "run=run"),
        ("action=replay", "run=run", "tracker=[tensorboard]"),
        ("resume=run", "training.max_steps=4"),
    ):
        said = refused(launch, tmp_path, *command)
        assert "run/config.yaml: ${oc.env:HOME}: a run's config holds no interpolation" in said


# -- secrets

SECRET = "correct-horse-battery"


def everything(folder: Path) -> bytes:
    """All that stands in the files of a folder."""
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize(
    "words",
    [
        ("notes='${oc.env:MY_SECRET}'",),
        ("notes='${oc.env:PLAIN}'",),
        ("name='x-${oc.env:PLAIN}'",),
        ("tags=['${oc.env:PLAIN}']",),
        (f"notes={SECRET}",),
        (f"notes='look: {SECRET}!'",),
        ("notes='at postgresql+psycopg://me:hunter2@host/db now'",),
        ("notes='http://host/x?password=hunter2'",),
        ("notes='see ghp_0123456789abcdefghijABCDEFGHIJ'",),
        ("hydra.run.dir='runs/${oc.env:MY_SECRET}'",),
        ("-m", "optimizer.lr=0.1,0.2", "hydra.sweeper.study_name='${oc.env:MY_SECRET}'"),
        ("-m", "optimizer.lr=0.1,0.2", f"notes=a,{SECRET}"),
    ],
    ids=" ".join,
)
def test_a_secret_is_refused_wherever_it_stands(launch: Launch, tmp_path: Path, words: tuple[str, ...]) -> None:
    said = refused(launch, tmp_path, *words, "tracker=[]", env={"MY_SECRET": SECRET, "PLAIN": "hush"})
    assert SECRET not in said
    assert "hush" not in said


def test_a_value_of_the_environment_may_stand_in_a_path(launch: Launch, tmp_path: Path) -> None:
    words = ("model=mlp", "tracker=[]", "training.max_steps=1", "hydra.run.dir=${oc.env:PLACE}/run")
    assert launch(*words, env={"PLACE": str(tmp_path / "there")}).returncode == 0
    assert (tmp_path / "there" / "run" / "result.json").is_file()


def test_no_file_of_a_run_or_a_sweep_tells_a_secret(launch: Launch, tmp_path: Path) -> None:
    """The command, the environment and the code that are kept beside a run; a storage's address."""
    git = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a",
    }
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".env.local").write_text("A=1\n")
    (tmp_path / "code.py").write_text("a = 1\n")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "all")):
        subprocess.run(["git", *words], cwd=tmp_path, env=environment(git), check=True)
    (tmp_path / ".env").write_text("A=1\nPLAIN=hunter2hunter2\n")
    (tmp_path / "deep" / ".env.local").write_text("A=1\nPLAIN=hunter2hunter2\n")
    (tmp_path / "code.py").write_text(
        f"a = 2\npassword = 'hunter2hunter2'\nexport API_TOKEN=hunter2hunter2\nurl = 'mysql+x://me:hunter2hunter2@host/db'\nx = {SECRET!r}\n"
    )
    env = {"MY_SECRET": SECRET, "NCCL_NET": f"http://me:{SECRET}@host"}
    done = launch("model=mlp", "tracker=[]", "training.max_steps=1", "hydra.run.dir=run", env=env)
    assert done.returncode == 0, done.stderr
    kept = everything(tmp_path / "run")
    assert b"a = 2" in kept
    assert b"hunter2" not in kept
    assert SECRET.encode() not in kept


def test_a_repository_handed_on_starts_no_program(launch: Launch, tmp_path: Path) -> None:
    """Its own settings name programs: for its state, for what is changed, for how a file is read."""
    git = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a",
    }
    program = tmp_path / "program.sh"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/RAN\ncat\n")
    program.chmod(0o755)
    (tmp_path / "code.txt").write_text("a = 1\n")
    (tmp_path / ".gitattributes").write_text("*.txt filter=theirs diff=theirs\n")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "all")):
        subprocess.run(["git", *words], cwd=tmp_path, env=environment(git), check=True)
    for key in (
        "core.fsmonitor",
        "diff.external",
        "diff.theirs.textconv",
        "diff.theirs.command",
        "filter.theirs.clean",
        "filter.theirs.process",
    ):
        subprocess.run(["git", "config", key, str(program)], cwd=tmp_path, check=True)
    (tmp_path / "code.txt").write_text("a = 2\n")
    done = launch("model=mlp", "tracker=[]", "training.max_steps=1", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "provenance.json").read_text())["git"]["dirty"] is True
    assert "+a = 2" in (tmp_path / "run" / "changes.patch").read_text()
    assert not (tmp_path / "RAN").exists()


# -- tables that people open


def test_a_label_is_no_formula_in_a_table(launch: Launch, tmp_path: Path) -> None:
    from launcher.artifacts.predictions import read_table

    labels = ["=HYPERLINK(1)", "+a", "-1", "@b", "'c", "plain"]
    rows = "\n".join(f"{number},{labels[number % 6]}" for number in range(120))
    (tmp_path / "rows.csv").write_text(f"a,target\n{rows}\n")
    words = (
        "task=tabular",
        "data=files",
        "data.path=rows.csv",
        "model=random_forest",
        "training.predictions=true",
        "tracker=[]",
    )
    done = launch(*words, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "run" / "predictions.csv"
    cells = {cell for line in path.read_text().splitlines()[1:] for cell in line.split(",")[1:3]}
    assert cells <= {"'=HYPERLINK(1)", "'+a", "-1", "'@b", "''c", "plain"}
    header, lines = read_table(path)
    assert {line[1] for line in lines} <= set(labels)
    assert {name.removeprefix("p_") for name in header[3:]} == set(labels)


# -- models of others


def test_nothing_asks_and_no_code_of_a_folder_is_imported(tmp_path: Path) -> None:
    """`yes |` answers what a library asks."""
    hub = tmp_path / "hub"
    hub.mkdir()
    code = f"open({str(tmp_path / 'RAN')!r}, 'w').close()\nclass Theirs: ...\n"
    (hub / "theirs.py").write_text(code)
    auto = dict.fromkeys(("AutoConfig", "AutoModelForSequenceClassification", "AutoModelForCausalLM"), "theirs.Theirs")
    (hub / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": auto}))
    (hub / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["theirs.Theirs", None]}}))
    for words in ("task=text_classification", "task=pretrain_clm", "task=text_classification action=plan"):
        command = f"yes | {sys.executable} -m launcher {words} model=hub model.path=hub tracker=[] hydra.run.dir=run"
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == REFUSED, done.stdout + done.stderr
        assert "contains custom code" in done.stderr
        assert not (tmp_path / "RAN").exists()
        assert not (tmp_path / "run").exists()


# -- processes of others


def test_a_folder_names_no_job_of_another_one(tmp_path: Path) -> None:
    """What stands in a run's folder as its job is followed, and cancelled with it."""
    from launcher.cluster.kubernetes import Kubernetes
    from launcher.cluster.slurm_jobs import Job, note, noted

    (tmp_path / "mine" / "slurm").mkdir(parents=True)
    (tmp_path / "theirs" / "slurm").mkdir(parents=True)
    mine = Job("7", tmp_path / "mine" / "slurm")
    note(tmp_path / "mine", mine)
    note(tmp_path / "theirs", mine)
    assert noted(tmp_path / "mine") == mine
    assert noted(tmp_path / "theirs") is None
    array = Job("8_0", tmp_path / "slurm" / "array-1")
    note(tmp_path / "mine", array)
    assert noted(tmp_path / "mine") == array

    engine = Kubernetes(image="x")
    (tmp_path / "theirs" / "kubernetes").mkdir()
    (tmp_path / "theirs" / "kubernetes" / "job.json").write_text('{"job": "launcher-0123abcd-1"}')
    assert engine.open_job(tmp_path / "theirs") is None  # without a word to the cluster


def test_a_file_that_is_no_journal_stays_as_it_is(launch: Launch, tmp_path: Path) -> None:
    other = tmp_path / "other.journal"
    other.write_text("a line\na line without its end")
    words = ("-m", "optimizer.lr=0.1,0.2", "tracker=[]", f"hydra.sweeper.storage={other}")
    assert "a file that is no journal of Optuna's" in refused(launch, tmp_path, *words)
    assert other.read_text() == "a line\na line without its end"


def test_what_is_quoted_steers_no_terminal(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "own" / "optimizer").mkdir(parents=True)
    (tmp_path / "own" / "optimizer" / "mine.yaml").write_text(
        '_target_: "os.\\e]52;c;ZXZpbA==\\asystem"\n_partial_: true\n'
    )
    said = refused(launch, tmp_path, "--config-dir=own", "optimizer=mine")
    assert "system" in said
    assert "\x1b" not in said
    assert "\x07" not in said
