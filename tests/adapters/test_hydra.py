"""What the launcher asks of Hydra by private names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf
from optuna.distributions import FloatDistribution

from launcher.adapters import hydra as adapter
from launcher.adapters.hydra_optuna_sweeper import distribution_of
from launcher.config import compose


@pytest.fixture(scope="module")
def hydra() -> Iterator[adapter.Hydra]:
    with compose.session() as opened:
        yield opened


def override(line: str) -> Override:
    return OverridesParser.create().parse_override(line)


def test_the_value_of_an_override_is_what_was_parsed() -> None:
    assert adapter.given(override("a=[1,x]")) == [1, "x"]
    assert adapter.given(override("a=null")) is None
    changed = override("a=1")
    adapter.give(changed, 2)
    assert changed.value() == 2


def test_the_repository_knows_the_groups_of_the_search_path(hydra: adapter.Hydra) -> None:
    repository = adapter.repository_of(compose.loader_of(hydra), "config", [])
    assert repository.group_exists("optimizer")
    assert "adamw" in repository.get_group_options("optimizer")


def test_an_override_is_applied_to_a_composed_config(hydra: adapter.Hydra) -> None:
    config = OmegaConf.create({"a": {"b": 1}})
    OmegaConf.set_struct(config, True)
    adapter.apply(compose.loader_of(hydra), override("a.b=2"), config)
    assert config == {"a": {"b": 2}}


def test_the_files_of_a_composition_are_in_their_order(hydra: adapter.Hydra) -> None:
    files = [
        each.config_path
        for each in adapter.defaults_of(compose.loader_of(hydra), "config", [override("optimizer=lion")])
    ]
    assert "optimizer/lion" in files
    assert "optimizer/adamw" not in files
    assert files.index("schema") < files.index("optimizer/lion") < files.index("task/image_classification")


def test_the_loader_and_the_aliases(hydra: adapter.Hydra) -> None:
    assert isinstance(hydra.config_loader, adapter.ConfigLoaderImpl)
    assert isinstance(adapter.aliases_of(hydra, "config"), str)
    assert adapter.get_args_parser().parse_args(["-m", "a=1"]).multirun
    assert callable(adapter.Callbacks().on_run_start)


def test_a_package_is_seen_before_it_is_imported() -> None:
    from hydra._internal.sources_registry import SourcesRegistry

    types = SourcesRegistry.instance().types
    before, names = types["pkg"], list[str]()
    try:
        adapter.guard_packages(names.append)
        types["pkg"](provider="test", path="pkg://json").available()
    finally:
        types["pkg"] = before
    assert names == ["json"]


def test_a_span_is_a_distribution() -> None:
    assert distribution_of(override("a=interval(0,1)")) == FloatDistribution(0, 1)
