"""Which layers of a model are computed in parts: by what its modules say of themselves, else by a rule."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from launcher.adapters.torch import replace_parameter
from launcher.errors import ConfigError

from .tensor_layers import Columns, CutRows, GatheredColumns, Region, Rows, Vocabulary, Whole, install, part

LINEAR: dict[str, tuple[type[nn.Module], int, int]] = {
    "colwise": (Columns, 0, 1),
    "packed_colwise": (Columns, 0, 2),
    "colwise_gather_output": (GatheredColumns, 0, 1),
    "colwise_rep": (GatheredColumns, 0, 1),
    "rowwise": (Rows, 1, 1),
    "rowwise_split_input": (CutRows, 1, 1),
    "rowwise_rep": (CutRows, 1, 1),
}
"""Styles of linear layers by the words of transformers' plans: what stands behind the layer, the dimension that is
split, and how many matrices one weight is (`packed_colwise:3` says another number)."""

EMBEDDING, PARTIAL, LEFT = "embedding_rowwise", "replicated_with_grad_allreduce", "replicate"

ELEMENTWISE = (
    nn.ReLU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.ELU,
    nn.LeakyReLU,
    nn.Softplus,
    nn.Dropout,
    nn.Identity,
)
"""What may stand between two linear layers of which the first is split by its outputs, the second by its inputs."""

INSTEAD = "parallel=fsdp splits the weights of any model"


def plan(model: nn.Module) -> dict[str, str]:
    """The style of each module that is split, by its name.

    What a module says as `tp_plan` counts: patterns of names below it, and their styles; models of transformers do.
    Beside these, two linear layers in a sequence with nothing but elementwise functions between them are split.

    Raises ConfigError for a model of which nothing can be split, and for what can not be split as its plan says.
    """
    modules = dict(model.named_modules())
    found: dict[str, str] = {}
    for prefix, module in modules.items():
        start = f"{prefix}." if prefix else ""
        said: Any = getattr(module, "tp_plan", None) or {}
        for pattern, style in said.items():
            for name in modules:
                if name.startswith(start) and fnmatchcase(name[len(start) :], pattern):
                    found.setdefault(name, style)
            parameters = (name for name, _ in module.named_parameters() if fnmatchcase(name, pattern))
            for name in parameters:
                raise ConfigError(f"{_of(model)} has {start}{name} split as {style}, which is not there; {INSTEAD}")
    for prefix, module in modules.items():
        if isinstance(module, nn.Sequential):
            for name, style in _pairs(module).items():
                found.setdefault(f"{prefix}.{name}" if prefix else name, style)
    found = {name: style for name, style in found.items() if style != LEFT}
    _tie(model, found)
    for name, style in found.items():
        _check(model, name, modules[name], style)
    if not found:
        raise ConfigError(
            f"{type(model).__name__} does not say how its layers are split (tp_plan), and has no two linear layers "
            f"in a sequence with only elementwise functions between them; {INSTEAD}"
        )
    return found


def _of(model: nn.Module) -> str:
    return f"parallel=tensor: the plan of {type(model).__name__}"


def _pairs(sequence: nn.Sequential) -> dict[str, str]:
    found: dict[str, str] = {}
    first: str | None = None
    for name, child in sequence.named_children():
        if type(child) is nn.Linear:
            if first is not None:
                found |= {first: "colwise", name: "rowwise"}
            first = name if first is None else None
        elif type(child) not in ELEMENTWISE:
            first = None
    return found


def _tie(model: nn.Module, found: dict[str, str]) -> None:
    """Split an embedding with the head that shares its weight: both are of some of the tokens."""
    holders: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        holders.setdefault(id(parameter), []).append(name.rpartition(".")[0])
    for names in holders.values():
        styles = {name: found[name] for name in names if name in found}
        for name in names if styles and len(names) > 1 else ():
            if name not in styles and isinstance(model.get_submodule(name), nn.Embedding):
                found[name] = styles[name] = EMBEDDING
        if len(styles) != len(names) and styles:
            raise ConfigError(
                f"{_of(model)} splits {min(styles)}, and {' and '.join(set(names) - set(styles))} has its weight too; {INSTEAD}"
            )


def _check(model: nn.Module, name: str, module: nn.Module, style: str) -> None:
    word = style.partition(":")[0]
    if word == PARTIAL:
        return
    kind = nn.Linear if word in LINEAR else nn.Embedding if word == EMBEDDING else None
    if kind is None:
        raise ConfigError(f"{_of(model)} has {name} split as {style}, which is not there; {INSTEAD}")
    if type(module) is not kind or getattr(module, "max_norm", None) is not None:
        raise ConfigError(
            f"{_of(model)} splits {name}, a {type(module).__name__} and no plain {kind.__name__}; {INSTEAD}"
        )


def heads(model: nn.Module) -> dict[str, int]:
    """The numbers of attention heads that have to be dealt out evenly, by the words for them."""
    found: dict[str, int] = {}
    text: Callable[[], Any] | None = getattr(getattr(model, "config", None), "get_text_config", None)
    if text is not None:
        words = ("num_attention_heads", "num_key_value_heads")
        found = {word: num for word in words if isinstance(num := getattr(text(), word, None), int)}
    for module in model.modules():
        num = getattr(module, "num_heads", None)
        if isinstance(num, int) and getattr(module, "tp_plan", None):
            found["num_heads"] = num
    return found


def split(model: nn.Module, styles: dict[str, str], region: Region) -> dict[str, tuple[int, int]]:
    """Split the modules of a plan in place.

    Returns of how many matrices a weight is made, over how many ranks, by its name, where that is more than one.
    Raises ConfigError for numbers that do not go up.
    """
    uneven = next(((word, num) for word, num in heads(model).items() if num % region.size), None)
    if uneven is not None:
        raise ConfigError(
            f"{uneven[1]} heads ({uneven[0]}) can not be dealt out to parallel.tensor_size={region.size} ranks"
        )
    packed: dict[str, tuple[int, int]] = {}
    made: dict[int, nn.Parameter] = {}  # a tied weight stays one
    for name, style in styles.items():
        module = model.get_submodule(name)
        word, _, number = style.partition(":")
        if word == PARTIAL:
            install(module, Whole, region)
            continue
        base, dim, num = LINEAR.get(word, (Vocabulary, 0, 1))
        num = int(number or num)
        for key, weight in list(module.named_parameters(recurse=False)):
            if weight.ndim <= dim:
                continue  # the bias of what is summed is added once, whole
            if num > 1 and weight.shape[0] % (num * region.size):
                raise ConfigError(
                    f"{name}: {num} x {weight.shape[0] // num} features can not be dealt out to parallel.tensor_size={region.size} ranks"
                )
            if id(weight) not in made:
                made[id(weight)] = part(weight, region, dim, num)
            replace_parameter(module, key, made[id(weight)])
            if num > 1:
                packed[f"{name}.{key}"] = (num, region.size)
        install(module, base, region)
    return packed
