"""Private names of OmegaConf: nodes as they are written, before an interpolation is resolved."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, ListConfig


def is_none(node: DictConfig | ListConfig) -> bool:
    """Whether a container's value is null."""
    return node._is_none()  # omegaconf 2.4.1rc1


def is_open(node: DictConfig | ListConfig) -> bool:
    """Whether a container has children to go to: not null, not missing, no interpolation."""
    return not (node._is_none() or node._is_missing() or node._is_interpolation())  # omegaconf 2.4.1rc1


def child(node: DictConfig | ListConfig, key: Any) -> Any:
    """The node at a key, where `node[key]` is its resolved value."""
    return node._get_node(key)  # omegaconf 2.4.1rc1


def raw_value(node: Any) -> Any:
    """The value of a node as it is written."""
    return node._value()  # omegaconf 2.4.1rc1


def full_key(node: DictConfig) -> str:
    """The keys that lead from the root of a config to a node."""
    return str(node._get_full_key(None))  # omegaconf 2.4.1rc1


def is_text(node: Any) -> bool:
    """Whether the type of a structured config's node is a text or a list of texts."""
    meta = node._metadata  # omegaconf 2.4.1rc1
    return meta.ref_type is str or getattr(meta, "element_type", None) is str
