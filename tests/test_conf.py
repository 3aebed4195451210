"""The whole catalogue, found by globbing conf/: every entry composes, passes the checks, and is built."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from hydra._internal.hydra import Hydra
from omegaconf import DictConfig, OmegaConf

from launcher import CONF
from launcher.config import compose, schema, signature_table, signatures
from launcher.config.checks.nodes import check
from launcher.config.groups import GROUPS, holding
from launcher.config.instantiate import instantiate
from launcher.core.run import Plan
from launcher.errors import ConfigError
from launcher.optim.build import build_scheduler, optimizer_of

ENTRIES = sorted((group, path.stem) for group in GROUPS for path in (CONF / group).glob("*.yaml"))
PRESETS = sorted(
    (path.parent.name, path.stem) for group in ("experiment", "debug") for path in (CONF / group).glob("*.yaml")
)
TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))
DATA = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
FILLED = {"path": "somewhere", "image": "registry/train:1"}
"""What stands for the values that an entry leaves open."""


@pytest.fixture(scope="module")
def hydra() -> Iterator[Hydra]:
    with compose.session() as opened:
        yield opened


def open_keys(group: str, entry: str) -> list[str]:
    """Overrides for the values that an entry leaves to the person."""
    text = (CONF / group / f"{entry}.yaml").read_text()
    listed = GROUPS[group].holds == "many"
    keys = re.findall(r"^( *)(\w+): \?\?\?", text, re.MULTILINE)
    return [f"{group}.{f'{entry}.' if listed else ''}{key}={FILLED[key]}" for _, key in keys]


def checked(hydra: Hydra, *overrides: str) -> DictConfig:
    composed = compose.compose(hydra, list(overrides))
    check(composed.config, composed.origins)
    return composed.config


def anywhere(hydra: Hydra, group: str, entry: str) -> DictConfig:
    """The entry in the first experiment that takes it: with each task, with its own data and then with any other."""
    chosen = f"{group}=[{entry}]" if GROUPS[group].holds == "many" else f"{group}={entry}"
    refusals = []
    for data, task in product([None, *(DATA if group == "model" else [])], [entry] if group == "task" else TASKS):
        beside = [f"data={data}", *open_keys("data", data)] if data else []
        spread = ["parallel=ddp"] if group == "communication" else []
        folds = ["validation=kfold"] if (group, entry) == ("procedure", "cross_validation") else []
        words = [
            chosen,
            *open_keys(group, entry),
            *beside,
            *spread,
            *folds,
            *([f"task={task}"] if group != "task" else []),
        ]
        try:
            return checked(hydra, *words)
        except ConfigError as error:
            refusals.append(f"{' '.join(words)}: {error}")
    raise AssertionError("\n".join(refusals))


@pytest.mark.parametrize(("group", "entry"), ENTRIES)
def test_every_entry_composes_and_is_built(group: str, entry: str, hydra: Hydra) -> None:
    config = anywhere(hydra, group, entry)
    if GROUPS[group].holds == "many":
        assert entry in config[group], "an entry of a list is one key that names it"
        node = config[group][entry]
        assert instantiate(node) is not None
    elif group == "optimizer":
        takes_a_step(config.optimizer)
    elif group == "scheduler":
        runs_its_course(config.scheduler)
    elif GROUPS[group].partial:
        assert callable(instantiate(config[group]))
    elif group != "task":
        assert instantiate(config[group]) is not None


def takes_a_step(node: DictConfig) -> None:
    model = torch.nn.Linear(3, 2)
    before = model.weight.detach().clone()
    optimizer = optimizer_of(node)[0](model.parameters())
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, model.weight)


def runs_its_course(node: DictConfig) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    plan = Plan(
        total_steps=20,
        steps_per_epoch=5,
        log_every=None,
        eval_every=None,
        checkpoint_every=None,
        checkpoint_seconds=0.0,
        max_time=None,
    )
    scheduler = build_scheduler(node, optimizer, plan.total_steps, plan.steps_per_epoch)
    rates = []
    for _ in range(20):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert max(rates) <= 1.0 + 1e-12
    assert min(rates) >= 0.0


@pytest.mark.parametrize(("group", "entry"), PRESETS)
def test_every_preset_composes(group: str, entry: str, hydra: Hydra) -> None:
    config = checked(hydra, f'{group}="{entry}"')
    if group == "debug":
        assert config.debug.traceback is True


def test_every_task_has_a_preset() -> None:
    chosen = [re.findall(r"override /task: (\w+)", path.read_text()) for path in (CONF / "experiment").glob("*.yaml")]
    assert {task for each in chosen for task in each} == set(TASKS)


def test_the_preset_of_the_readme_is_the_default(hydra: Hydra) -> None:
    preset, default = checked(hydra, "experiment=digits"), checked(hydra)
    preset.name = None
    assert preset == default


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_a_file_says_what_it_is(path: Path) -> None:
    """It begins with a comment for people, after the line for Hydra; its name is in snake case."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert re.match(r"# \S", lines[0])
    assert re.fullmatch(r"[a-z0-9_]+", path.stem)
    assert yaml.safe_load(path.read_text()) is not None


def test_a_list_of_names_holds_entries_of_the_same_name() -> None:
    for group in holding("many"):
        for path in (CONF / group).glob("*.yaml"):
            assert list(yaml.safe_load(path.read_text())) == [path.stem]


def test_the_folders_are_the_groups_of_the_table() -> None:
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert folders - {"hydra", "search", "experiment", "debug"} == set(GROUPS)
    assert folders - {"hydra", "experiment"} <= set(schema.Config.__dataclass_fields__)


@cache
def fresh_table() -> str:
    return signature_table.dumps(signature_table.build_table())


def test_the_table_of_signatures_is_current() -> None:
    """Where this fails, an entry is new or a target has changed: `python -m launcher.config.signature_table` writes it anew."""
    assert json.loads(signatures.TABLE.read_text()) == json.loads(fresh_table())


def test_what_is_bound_later_is_what_targets_need() -> None:
    """The arguments that the launcher gives are named as the targets name them, and nothing else is left open."""
    for group, provided in ((name, each.provided) for name, each in GROUPS.items() if each.provided):
        for path in (CONF / group).glob("*.yaml"):
            node = yaml.safe_load(path.read_text())
            node = node.get(group, node) if group == "task" else node
            for target in signatures_of(node):
                known = signatures.table()[target]
                given = {name for name in node if not name.startswith("_")}
                assert set(known.required) - given <= provided, f"{group}/{path.stem}: {target}"


def signatures_of(node: dict[str, object]) -> tuple[str, ...]:
    from launcher.config.resolvers import alternatives

    return alternatives(str(node["_target_"]))


def test_plain_yaml_is_what_workers_read(hydra: Hydra) -> None:
    config = checked(hydra)
    text = OmegaConf.to_yaml(config)
    assert "${" not in text
    assert OmegaConf.create(text) == OmegaConf.create(OmegaConf.to_container(config))  # type: ignore[arg-type]
