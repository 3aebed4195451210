"""Groups of parameters: the role each plays, which are decayed, and the rates that a config gives some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from launcher.adapters.torch import Convolution, Norm
from launcher.errors import ConfigError, did_you_mean

ROLES = ("input", "matrix", "bias", "norm", "embedding", "head")
"""What a parameter can be; each is exactly one."""

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, Norm)


def roles(model: nn.Module) -> dict[str, str]:
    """The role of each trainable parameter, by its name; one that is shared counts where it comes first.

    embedding  the tables of embeddings, and what is added to every sample of a batch (positions, class tokens: bare
               parameters [1, tokens, features])
    norm       weights and biases of normalisations
    head       the last layer, with its bias: what the model calls its output embeddings, else its last linear layer
    bias       whatever else has fewer than two dimensions
    input      the matrix of the first layer, where that sees the data itself: of pixels, patches, columns. Where tokens
               come first, their embeddings do
    matrix     the rest, between the two: linear layers, convolutions, attention
    """
    head = _head(model)
    first = _first(model)
    found: dict[str, str] = {}
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{prefix}.{name}" if prefix else name] = _role(module, parameter, first, head)
    return found


def _role(module: nn.Module, parameter: nn.Parameter, first: nn.Module | None, head: nn.Module | None) -> str:
    if isinstance(module, _EMBEDDINGS):
        return "embedding"
    if isinstance(module, _NORMS) or type(module).__name__.endswith("Norm"):  # models of transformers have their own
        return "norm"
    if module is head:
        return "head"
    if parameter.ndim < 2:
        return "bias"
    if parameter.ndim >= 3 and parameter.shape[0] == 1 and not isinstance(module, Convolution):
        return "embedding"
    return "input" if module is first else "matrix"


def _first(model: nn.Module) -> nn.Module | None:
    """The layer that sees the data itself; None where that is a table of embeddings."""
    for module in model.modules():
        if isinstance(module, (*_EMBEDDINGS, nn.Linear, Convolution)):
            return None if isinstance(module, _EMBEDDINGS) else module
    return None


def _head(model: nn.Module) -> nn.Module | None:
    named: Any = getattr(model, "get_output_embeddings", None)
    own = named() if named is not None else None
    if isinstance(own, nn.Module):
        return own
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else None


def param_groups(
    model: nn.Module,
    decays: bool,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    apart: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The trainable parameters as groups for an optimizer, as few as their options allow: each costs a step some 20 µs.

    With `decays`, what is no matrix has `weight_decay` 0. Decay pulls matrices and convolutions towards zero; on
    biases, norms and embeddings it only does harm (Loshchilov and Hutter leave it open, but GPT-3, ViT and timm all
    leave these out).

    `options` maps a role, or a pattern of parameters' names (`body.*`), to options of the optimizer for what it
    matches; of two that match one parameter the later one decides. A group with a rate of its own is named after its
    keys (`name`), and comes after those without. Parameters of the roles in `apart` are in groups of their own, which
    say so (`role`).

    Raises ConfigError for a pattern that matches nothing.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    given = {name: role for name, role in roles(model).items() if name in parameters}
    options = options or {}
    for key in options:
        if key not in ROLES and not any(fnmatchcase(name, key) for name in parameters):
            raise ConfigError(f"optimizer.groups: {key!r} matches no parameter.{_near(key, list(parameters))}")
        if key in ROLES and key not in given.values():
            present = [role for role in ROLES if role in given.values()]
            raise ConfigError(f"optimizer.groups: this model has no {key} to train; it has {', '.join(present)}")
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, role in given.items():
        parameter = parameters[name]
        chosen: dict[str, Any] = {}
        if decays and (role not in ("input", "matrix", "head") or parameter.ndim < 2):
            chosen["weight_decay"] = 0.0
        matching = [key for key in options if key == role or (key not in ROLES and fnmatchcase(name, key))]
        for key in matching:
            chosen.update(options[key])
        if "lr" in chosen:
            chosen["name"] = "+".join(matching)
        if role in apart:
            chosen["role"] = role
        elif apart:
            chosen["role"] = "other"
        group = groups.setdefault(tuple(sorted((key, repr(value)) for key, value in chosen.items())), dict(chosen))
        group.setdefault("params", []).append(parameter)
    return sorted(groups.values(), key=lambda group: ("lr" in group, "weight_decay" in group))


def _near(key: str, names: list[str]) -> str:
    """The roles and names that come nearest to a key; the modules' names too, as patterns."""
    modules = {f"{name.rpartition('.')[0]}.*" for name in names if "." in name}
    modules |= {f"{name.split('.')[0]}.*" for name in names if "." in name}
    close = did_you_mean(key, [*ROLES, *names, *modules])
    shown = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
    return close if "Did you mean" in close else f" Roles are {', '.join(ROLES)}; the parameters are {shown}."
