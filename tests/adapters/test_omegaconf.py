"""What the launcher asks of OmegaConf by private names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from launcher.adapters import omegaconf as adapter


@dataclass
class Typed:
    name: str | None = None
    tags: list[str] = field(default_factory=list)
    count: int = 0
    anything: Any = None


def test_a_container_that_is_open_has_children_to_go_to() -> None:
    assert adapter.is_open(OmegaConf.create({"a": 1}))
    for content in (None, "???", "${b}"):
        assert not adapter.is_open(DictConfig(content))
    assert adapter.is_none(DictConfig(None))
    assert not adapter.is_none(DictConfig({}))


def test_a_child_is_what_is_written() -> None:
    config = OmegaConf.create({"a": {"b": "${c}"}, "c": 1})
    assert adapter.raw_value(adapter.child(config.a, "b")) == "${c}"
    assert config.a.b == 1
    assert adapter.full_key(config.a) == "a"


def test_texts_are_known_by_their_type() -> None:
    node = OmegaConf.structured(Typed)
    texts = {name for name in ("name", "tags", "count", "anything") if adapter.is_text(adapter.child(node, name))}
    assert texts == {"name", "tags"}
