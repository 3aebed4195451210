"""A word means what its key wants: read off compositions of the real command's words and of a user's files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from launcher.config import compose
from launcher.config.checks.nodes import check
from launcher.config.spelling import as_text, choices
from launcher.errors import ConfigError
from tests.conftest import Launch

TABLE = ["task=tabular", "model=naive_bayes", "data=files", "data.path=rows.csv"]


def composed(*words: str, folder: Path | None = None) -> compose.Composed:
    with compose.session(None if folder is None else str(folder)) as hydra:
        found = compose.compose(hydra, list(words))
        check(found.config, found.origins)
        return found


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("name=6e1234", "name", "6e1234"),
        ("name=2024_06", "name", "2024_06"),
        ("name=010", "name", "010"),
        ("name=true", "name", "true"),
        ("name=null", "name", None),
        ("name='7'", "name", "7"),
        ("name=run 7", "name", "run 7"),
        ("tags=[2024_01,1e5,no,nan]", "tags", ["2024_01", "1e5", "no", "nan"]),
        ("tags=[ 7 , b ]", "tags", ["7", "b"]),
        ("tags=['a,1',2]", "tags", ["a,1", "2"]),
        ("notes=${seed}", "notes", "0"),
        ("data.target=4", "data.target", "4"),
        ("data.target=1e5", "data.target", "1e5"),
        ("data.target='4'", "data.target", "4"),
        ("data.drop=[0,2019_01]", "data.drop", ["0", "2019_01"]),
        ("data.groups=null", "data.groups", None),
        ("data.groups=7", "data.groups", "7"),
        ("data.classes=[0,1]", "data.classes", [0, 1]),
        ("data.size=1_6", "data.size", 16),
        ("training.max_steps=1_000", "training.max_steps", 1000),
        ("resume=null", "resume", None),
    ],
)
def test_a_word_of_the_command(word: str, key: str, value: object) -> None:
    config = composed(*TABLE, word).config
    found = OmegaConf.select(config, key)
    found = OmegaConf.to_container(found) if OmegaConf.is_config(found) else found
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("name", ["2024_06_01", "6e1234", "010", "true"])
def test_a_folder_has_the_name_that_was_typed(name: str) -> None:
    assert composed("model=mlp", f"hydra.run.dir={name}").folder == Path(name)


FILE = """# @package _global_
defaults:
  - override /task: tabular
  - override /data: files
  - override /model: {model}
name: 2024_06
seed: 010
tags: [no, 6e1234, 1_0, 7]
data:
  path: rows.csv
  target: 4
  drop: [0, 2019_01]
  classes: [no, yes]
training:
  max_steps: 1_000
  export: no
"""


def test_the_words_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(FILE.format(model="naive_bayes"))
    config = composed("experiment=mine", folder=tmp_path).config
    assert (config.name, config.seed) == ("2024_06", 10)
    assert list(config.tags) == ["no", "6e1234", "1_0", "7"]
    assert (config.data.target, list(config.data.drop)) == ("4", ["0", "2019_01"])
    assert list(config.data.classes) == ["no", "yes"]
    assert (config.training.max_steps, config.training.export) == (1000, False)
    again = OmegaConf.create(OmegaConf.to_yaml(config))
    assert again == config, "as the run's own config.yaml has it"


def test_numbers_and_truth_of_a_file_where_an_argument_wants_them(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text(
        "_target_: torch.optim.AdamW\n_partial_: true\nlr: 1_0e-4\namsgrad: yes\nbetas: [0.9, 0.99]\n"
    )
    optimizer = composed("model=mlp", "optimizer=mine", folder=tmp_path).config.optimizer
    assert (optimizer.lr, optimizer.amsgrad, list(optimizer.betas)) == (10e-4, True, [0.9, 0.99])


@pytest.mark.parametrize(
    ("line", "said"),
    [("  max_time: 12:00", "training.max_time: expected seconds, or a duration"), ("  max_steps: yes", "max_steps")],
)
def test_what_is_neither_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\ntraining:\n{line}\n")
    with pytest.raises(ConfigError, match=said) as caught:
        composed("model=mlp", "experiment=mine", folder=tmp_path)
    assert "mine.yaml:3" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("k=4,5", "k='4','5'"),
        ("k=choice(4,a)", "k=choice('4',a)"),
        ("k=[4,-1.5,.5,5e3,inf]", "k=['4','-1.5','.5','5e3','inf']"),
        ("k=a 4", "k=a 4"),
        ("k=v4", "k=v4"),
        ('k="4",5', "k=\"4\",'5'"),
        ("k=${oc.env:X,5}", "k=${oc.env:X,5}"),
        ("k=range(1,4)", "k=range(1,4)"),
    ],
)
def test_numbers_in_quotes(line: str, text: str) -> None:
    assert as_text(line) == text


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("k=choice(null,1.0)", "k=null,1.0"),
        ("k=choice(a, null ,[1,2])", "k=a,null,[1,2]"),
        ('k=choice("null,a",1)', 'k=choice("null,a",1)'),
        ("k=choice(null)", "k=choice(null)"),
        ("k=shuffle(choice(null,1))", "k=shuffle(choice(null,1))"),
    ],
)
def test_choices_with_null(line: str, plain: str) -> None:
    assert choices(line) == plain


def trials(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_sweep_over_words(launch: Launch, tmp_path: Path) -> None:
    rows = "\n".join(f"{index % 7},{index * 5 % 11},{index % 2}" for index in range(40))
    (tmp_path / "rows.csv").write_text(f"2019_01,7,left\n{rows}\n")
    words = ["data.target=left", "data.drop=[2019_01],[7]", "hydra.sweeper.study_name=2024_06", "tracker=[]"]
    done = launch("-m", *TABLE[:1], *TABLE[2:], "search=grid", *words, "model=glob(naive_b*)")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "multirun" / "2024_06"
    dropped = [OmegaConf.load(folder / str(number) / "config.yaml").data.drop for number in range(2)]
    assert sorted(map(list, dropped)) == [["2019_01"], ["7"]]


def test_a_choice_of_null_in_a_file_and_on_the_command_line(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "clip.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: mlp\nhydra:\n  sweeper:\n    params:\n      training.clip_norm: choice(null, 1.0)\n"
    )
    for words in (["--config-dir", "mine", "experiment=clip"], ["model=mlp", "training.clip_norm=choice(null,1.0)"]):
        done = launch("-m", *words, "search=grid", "training.max_steps=2", "action=plan")
        assert done.returncode == 0, done.stderr
        assert "training.clip_norm: null, 1.0" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tags=[a b,rosé]"], """quotes: 'tags=["a b","rosé"]'"""),
        (["notes=rosé wine"], """quotes: 'notes="rosé wine"'"""),
        (["-m", "model=glob(x*)"], "no option of 'model' is so called; there are adaboost"),
        (["-m", "seed=glob(*)"], "glob(…) is for the options of a group, and 'seed' is none"),
    ],
)
def test_refused_with_the_way_out(launch: Launch, words: list[str], said: str) -> None:
    done = launch(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_config_that_is_shown_is_the_one_that_runs(launch: Launch, tmp_path: Path) -> None:
    done = launch(*TABLE, "data.target=4", "--cfg", "job")
    assert "\n  target: '4'\n" in done.stdout, done.stdout + done.stderr
