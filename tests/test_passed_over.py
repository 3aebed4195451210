"""What used to be passed over, to hang or to end in a traceback: refused in one line, with no folder left, or obeyed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import CONF
from launcher.__main__ import main
from launcher.config.groups import GROUPS
from tests.support.harness import environment

LONG = "a" * 300


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of a command that is refused; it leaves nothing behind."""
    before = sorted(Path.cwd().rglob("*"))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.startswith("error: ")
    assert sorted(Path.cwd().rglob("*")) == before
    return said.removeprefix("error: ").removesuffix("\n")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("scheduler.warmup=nan", "scheduler.warmup=nan: expected a share of the run below 1, or a whole number of steps"),
        ("scheduler.warmup=1e400", "scheduler.warmup=1e400: expected a share of the run below 1, or a whole number of steps"),
        ("+optimizer._args_=5", "+optimizer._args_=5: expected a list"),
        ("+optimizer._recursive_=maybe", "+optimizer._recursive_=maybe: expected true or false"),
        ("+optimizer._convert_=some", "+optimizer._convert_=some: expected none, partial, object, all"),
        ("tracker={a:1}", "tracker={a:1}: there is no _target_ that says what each entry is: 'tracker' is a group, and tracker=[<option>] chooses of it; single keys are set as tracker.<key>=<value>"),
        ("tags=[α,b]", "tags=[α,b]: the value can not be read; a text with special characters needs quotes: 'tags=[\"α\",b]'"),
        ("scheduler=plateau training.eval_every=0", "scheduler=plateau: looks at each evaluation, of which training.eval_every=0 makes none before the end"),
        ("hydra.searchpath=[file://nowhere]", "hydra.searchpath=[file://nowhere]: nowhere: no such folder; a folder of configs is file://<its path>"),
        (f"hydra.run.dir={LONG}", f"{LONG[:60]}…: no file has a name longer than 255 letters"),
        (f"resume={LONG}", f"{LONG[:60]}…: no file has a name longer than 255 letters"),
        (f"action=evaluate run={LONG}", f"{LONG[:60]}…: no file has a name longer than 255 letters"),
        (f"task=tabular data=files data.path={LONG}", f"data.path={LONG}: no file has such a name: it is longer than 255 letters"),
        ("task=tabular data=files data.path=pipe", "data.path=pipe: a pipe, where a file is expected"),
        ("task=tabular data=files data.path=/dev/zero", "data.path=/dev/zero: a device, where a file is expected"),
        ("task=tabular data=files data.path=socket", "data.path=socket: a socket, where a file is expected"),
        ("model=hub model.path=pipe task=text_classification", "model.path=pipe: a pipe, where a file is expected"),
        ("start=carbon_aware start.forecast=pipe", "start.forecast=pipe: a pipe, where a file is expected"),
    ],
)  # fmt: skip
def test_one_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert refused(words.split(), capsys) == said


def test_a_suggestion_is_not_what_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    from launcher.errors import did_you_mean

    assert did_you_mean("tracker", ["tracker", "trackers"]) == " Did you mean 'trackers'?"
    assert main(["debug=[true]", "--cfg", "job", "-p", "debug"]) == 0
    assert "traceback: true" in capsys.readouterr().out
    assert main(['tags=["α",b]', "--cfg", "job", "-p", "tags"]) == 0  # what is suggested for tags=[α,b]


@pytest.mark.parametrize("group", GROUPS)
def test_an_entry_of_the_wrong_kind(group: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place / "mine" / group
    folder.mkdir(parents=True)
    several = GROUPS[group].holds == "many"
    node = "_target_: torch.nn.Linear\nin_features: 2\nout_features: 2\n"
    (folder / "odd.yaml").write_text(
        "odd:\n" + "".join(f"  {line}\n" for line in node.splitlines()) if several else node
    )
    refused(["--config-dir", "mine", f"{group}={'[odd]' if several else 'odd'}", "training.max_steps=1"], capsys)


@pytest.mark.parametrize("form", ["{}={{lr:1}}", "+{}={{lr:1}}", "++{}={{}}"])
@pytest.mark.parametrize("group", sorted(path.name for path in CONF.iterdir() if list(path.glob("*.yaml"))))
def test_keys_are_no_choice_of_a_group(group: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Hydra merges them into what is chosen: `optimizer={lr:1}` would train AdamW at that rate."""
    said = refused(["-m"] * (group == "search") + [form.format(group)], capsys)
    several = group in GROUPS and GROUPS[group].holds == "many"
    chooses = f"'{group}' is a group, and {group}={'[<option>]' if several else '<option>'} chooses of it; single keys are set as {group}.<key>=<value>"
    missing = f"there is no _target_ that says what {'each entry' if several else 'it'} is: " if group in GROUPS else ""
    assert said == f"{form.format(group)}: {missing}{chooses}"


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_an_option_without_a_target(group: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "mine" / group).mkdir(parents=True)
    (place / "mine" / group / "bare.yaml").write_text(
        "bare:\n  lr: 1\n" if GROUPS[group].holds == "many" else "lr: 1\n"
    )
    word = f"{group}={'[bare]' if GROUPS[group].holds == 'many' else 'bare'}"
    said = refused(["--config-dir", "mine", word, "objective.metric=val/loss", "objective.direction=minimize"], capsys)
    assert "there is no _target_ that says what it is" in said


def test_a_node_of_ones_own_is_added_where_nothing_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    node = "monitor={own:{_target_:launcher.monitors.learning_rate.LearningRate}}"
    assert (
        refused([node], capsys) == f"{node}: no option of the group 'monitor' is chosen; +{node} makes one of your own"
    )
    assert main([f"+{node}", "--cfg", "job", "-p", "monitor.own"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("optimizer=sgd optimizer.nesterov=true optimizer.momentum=0", "torch.optim.sgd.SGD does not take its arguments: Nesterov momentum requires a momentum and zero dampening"),
        ("model=vit model.width=65 model.num_heads=4", None),
        ("validation=kfold validation.n_splits=100000", "validation.n_splits=100000: there are 1797 samples, and a fold holds out one at the least"),
    ],
)  # fmt: skip
def test_a_library_s_own_check(words: str, said: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused([*words.split(), "training.max_steps=1"], capsys)
    assert said is None or told == said


def test_defaults_in_a_circle(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place / "mine" / "experiment"
    folder.mkdir(parents=True)
    for one, other in (("a", "b"), ("b", "a")):
        (folder / f"{one}.yaml").write_text(f"# @package _global_\ndefaults:\n  - /experiment: {other}\n")
    said = refused(["--config-dir", "mine", "experiment=a"], capsys)
    assert said == "defaults that name each other in a circle: experiment/a -> experiment/b -> experiment/a"


def test_a_config_that_is_no_text(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "mine" / "experiment").mkdir(parents=True)
    (place / "mine" / "experiment" / "latin.yaml").write_bytes(b"# @package _global_\nname: caf\xe9\n")
    said = refused(["--config-dir", "mine", "experiment=latin"], capsys)
    assert said == "mine/experiment/latin.yaml: not a text in UTF-8"


DATA = {
    "labels.csv": (["text,label", "a b,yes", "c,no"], "data.classes=[yes,yes,no]", "data.classes: yes is there twice; each label is a class of its own"),
    "empty.csv": (["text,label", '" ",yes', '" ",no'], "", "empty.csv: every text in 'text' is empty"),
    "nul.csv": (["text,label", "a b,yes", "c\0d,no"], "", "nul.csv:3: a NUL byte, which no text has"),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_data_that_used_to_be_taken(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, words, said = DATA[name]
    (place / name).write_text("\n".join(lines) + "\n")
    told = refused(["task=text_classification", "data=files", f"data.path={name}", *words.split()], capsys)
    assert told == said


def test_the_target_is_not_dropped(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "t.csv").write_text("a,target\n1,0\n2,1\n")
    words = ["task=tabular", "model=logistic_regression", "data=files", "data.path=t.csv", "data.drop=[target]"]
    assert refused(words, capsys) == "data.drop: 'target' is the column that is learned (data.target)"


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)])
def test_without_a_stream(closed: tuple[int, ...], place: Path) -> None:
    """Started with `>&-`, a run ends as it should, and no file of it has become the stream that is missing."""
    shut = " ".join(f"{number}>&-" for number in closed)
    words = "task=tabular data=wine model=logistic_regression tracker=[] hydra.run.dir=run"
    command = f"exec {sys.executable} -m launcher {words} {shut}"
    done = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads((place / "run" / "result.json").read_text())["status"] == "completed"
    assert all(json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text().splitlines())
    assert (place / "run" / "config.yaml").read_text().startswith("format: ")
