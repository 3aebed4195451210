"""What the launcher knows of a conf group."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Group:
    """What the entries of a group are, and how a run uses them."""

    holds: Literal["one", "perhaps", "many"]
    """One object always, one or none, or any number of objects by name."""
    rooms: tuple[str, ...]
    """Patterns of the names that a `_target_` may have: a dotted name, or a package with `.*` behind it."""
    bases: tuple[str, ...] = ()
    """Its class is one of these, or below one: where they are defined."""
    has: tuple[str, ...] = ()
    """Or it has these attributes, where the group asks for no base class."""
    factories: tuple[str, ...] = ()
    """Functions of libraries that make one."""
    inside: tuple[str, ...] = ()
    """The other groups whose targets may stand within its arguments."""
    called: bool = False
    """It is a function itself, which the launcher calls with arguments of its own: a person's need no mark."""
    partial: bool = False
    """Its node is called later, with what is `provided`: it says `_partial_: true`, and no other group's does."""
    provided: frozenset[str] = frozenset()
    """Arguments that the launcher gives: a file leaves them out, and a config that sets one is refused."""
    consumed: frozenset[str] = frozenset()
    """Keys of the node that the launcher takes for itself; the target never sees them."""
    keys: dict[str, Any] = field(default_factory=dict)
    """Keys that the node has whatever is chosen, with their values."""
    ranges: dict[str, str] = field(default_factory=dict)
    """Bounds of numbers by argument, where the target itself would complain only once it is called."""
    words: dict[str, str] = field(default_factory=dict)
    """By argument, a word that stands for a value which is found out first."""
    effect: Literal["changes", "stops", "watches"] | None = None
    """What its entries do to a training, where they are algorithms; their hooks run in the order of the table."""
    resumable: bool = False
    """A resumed run may choose another: it decides where a run takes place, and not what comes out."""
    preloaded: bool = True
    """The server that trials are forked from imports what a config names of it."""
