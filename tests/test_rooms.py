"""The rules that make the house guessable: what somebody looks for lies where its name says."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.artifacts.folder import CHECKPOINTS, LOCK, MODEL
from launcher.config.groups import GROUPS
from launcher.config.schema import ACTIONS
from tests.conftest import Launch
from tests.support.copies import copy_source
from tests.support.harness import ROOT, cold
from tests.test_layers import Source, room, row

SOURCE = ROOT / "launcher"

# -- a conf group has a room of its name

ELSEWHERE = {
    "data": "tasks",  # what is learned, what it is learned from and what learns it are one room
    "model": "tasks",
    "validation": "data/splits.py",  # splits are data
    "optimizer": "optim",  # torch's own word
}
"""The groups whose room has another name, each with why."""


def room_of(group: str) -> Path:
    """The folder or the module that a group's own classes lie in, by its entry in the table."""
    pattern = GROUPS[group].rooms[0].removeprefix("launcher.")
    parts = pattern.removesuffix(".*").split(".")
    if not pattern.endswith(".*"):  # the classes themselves are named, one by one
        parts = parts[:-2]
    path = ROOT.joinpath(*parts) if parts[0] == "tasks" else SOURCE.joinpath(*parts)
    return path if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_has_a_room_of_its_name(group: str) -> None:
    room = room_of(group)
    assert room.exists()
    shown = room.relative_to(ROOT).as_posix().removeprefix("launcher/")
    if group in ELSEWHERE:
        assert shown == ELSEWHERE[group]
    else:  # or of its plural; a group with one class has a module
        assert group in shown.removesuffix(".py").split("/") or f"{group}s" in shown.split("/")


@pytest.mark.parametrize("group", GROUPS)
def test_what_a_group_names_of_ours_lies_in_its_room(group: str) -> None:
    room = room_of(group)
    names = {
        target
        for path in (ROOT / "conf" / group).glob("*.yaml")
        for target in re.findall(r"launcher(?:\.\w+)+", path.read_text())
        if target.split(".")[-1][0].isupper()
    }
    for name in names if group != "task" else ():  # a task's file chooses data and models beside
        module = importlib.import_module(name.rpartition(".")[0])
        assert Path(inspect.getfile(module)).is_relative_to(room), f"{name} is not in {room}"


# -- `action=NAME` is launcher/actions/NAME.py


def test_an_action_is_its_module() -> None:
    modules = {path.stem for path in (SOURCE / "actions").glob("*.py")} - {"__init__"}
    assert set(ACTIONS) == modules
    assert "train" in modules
    for name in sorted(modules):
        act = importlib.import_module(f"launcher.actions.{name}").act
        assert list(inspect.signature(act).parameters) == ["config", "folder", "resumed"], name
        assert inspect.signature(act).return_annotation == "int", name


def test_an_action_is_there_because_its_module_is(tmp_path: Path) -> None:
    copy = copy_source(tmp_path)
    (copy / "launcher" / "actions" / "greet.py").write_text(
        "def act(config, folder, resumed):\n    print('greeted by', config.seed)\n    return 0\n"
    )
    done = cold("action=greet", "run=.", "seed=7", cwd=copy, env={"PYTHONPATH": str(copy)})
    assert done.returncode == 0, done.stderr
    assert "greeted by 7" in done.stdout


# -- a file of a run's folder has one module in launcher/artifacts/

FILE = re.compile(r"[\w-]+\.(json|jsonl|yaml|csv|txt|html|svg|patch|journal)")


def named_by(path: Path) -> Iterator[str]:
    """The files that a module gives names to: FILE = "a.json", or A, B = "a.json", "b.json"."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign):
            one_each = isinstance(node.targets[0], ast.Tuple)
            values = node.value.elts if one_each and isinstance(node.value, ast.Tuple) else [node.value]
            for value in values:
                if isinstance(value, ast.Constant) and isinstance(value.value, str) and FILE.fullmatch(value.value):
                    yield value.value


def files() -> dict[str, list[str]]:
    """Each file of a folder, with the modules that name it."""
    found: dict[str, list[str]] = {}
    for path in sorted((SOURCE / "artifacts").rglob("*.py")):
        for name in named_by(path):
            found.setdefault(name, []).append(path.stem)
    return found


def spelled(path: Path, names: set[str]) -> list[str]:
    """Where a module spells out one of these names, as a path or the end of one; sentences may."""
    return [
        f"{path.name}:{node.lineno} {node.value}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.rpartition("/")[2] in names and " " not in node.value and not node.value.startswith("conf/")
    ]


def test_a_file_of_a_folder_has_one_module() -> None:
    assert {name: modules for name, modules in files().items() if len(modules) > 1} == {}


def test_no_other_module_spells_the_name_of_a_file() -> None:
    names = set(files())
    assert {"config.yaml", "metrics.jsonl", "result.json", "provenance.json", "report.html", "trials.csv"} <= names
    others = [path for path in sorted(SOURCE.rglob("*.py")) if not path.is_relative_to(SOURCE / "artifacts")]
    assert [line for path in others for line in spelled(path, names)] == []


def test_the_rule_of_files_finds_what_breaks_it(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text('a = folder / "result.json"\nb = f"{name}/result.json"\nc = "the result.json"\nd = "other.json"\n')
    assert spelled(path, {"result.json"}) == ["broken.py:1 result.json", "broken.py:2 /result.json"]


def test_every_file_of_a_run_is_named(launch: Launch, tmp_path: Path) -> None:
    words = ["task=tabular", "data=wine", "model=mlp", "training.max_epochs=2", "training.predictions=true"]
    done = launch(*words, "tracker=[]", "debug=profiler", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert launch("action=evaluate", "run=run").returncode == 0
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.yaml", "result.json", "metrics.jsonl", "evaluation.json", "profile.json", "predictions.csv"} <= left
    assert left <= set(files()) | {LOCK, CHECKPOINTS, MODEL}


# -- what others extend is in launcher/core/

BELOW = {
    "launcher.data.samples.Samples",
    "launcher.memory.activations.Memory",
    "launcher.memory.precision.Precision",
    "launcher.trackers.base.Tracker",
}
"""Bases of rooms that core/ itself stands on: its run holds samples, a precision and a recorder of trackers."""


def bases(source: Source, module: str) -> Iterator[str]:
    """The dotted names of ours that the classes of a module extend."""
    path = source.paths[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    tree = ast.parse(path.read_text())
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                name = names.get(ast.unparse(base).partition("[")[0], "")
                if name.startswith(("launcher.", "tasks.")):
                    yield name


def test_what_another_room_extends_is_in_core() -> None:
    source = Source(ROOT)
    extended = {(base, module) for module in source.paths for base in bases(source, module)}
    assert ("launcher.core.task.Task", "tasks.image_classification") in extended
    assert [
        f"{module} extends {base}"
        for base, module in sorted(extended)
        if room(base.rpartition(".")[0]) not in ("core", "errors", "adapters", room(module)) and base not in BELOW
    ] == []


def test_the_base_of_a_group_is_in_core() -> None:
    ours = {base for group in GROUPS.values() for base in group.bases if base.startswith("launcher.")}
    assert {base for base in ours if not base.startswith("launcher.core.")} <= BELOW
    assert all(row(base.rpartition(".")[0]) > row("launcher.core.run") for base in BELOW)
    for base in ours | BELOW:
        module, _, name = base.rpartition(".")
        assert inspect.isclass(getattr(importlib.import_module(module), name)), base
