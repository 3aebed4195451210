"""Words in `${…}` that the catalogue uses to let one entry follow another."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from launcher import CONF
from launcher.errors import ConfigError, did_you_mean

from .signatures import signature

ON_CPU = 2
"""Processes where there is no GPU and no number is given."""

PROBLEMS = ("classification", "regression")

_CALL = re.compile(r"\$\{by_problem:\$\{[^}]*\},(?P<choices>[^}]*)\}")
_RAISED = re.compile(
    r"ConfigError raised while resolving interpolation: (?P<message>.*?)(?:\n +full_key: .*)?", re.DOTALL
)


def by_problem(problem: str | None, classification: str | None, regression: str | None) -> str:
    """The one of the last two that serves the problem; data that states no problem counts as classification.

    Raises ConfigError for another problem, or where the wanted one is null: then it names the entries of
    conf/model that would fit.
    """
    wanted = "classification" if problem is None else problem
    if wanted not in PROBLEMS:
        raise ConfigError(
            f"data.problem={problem}: expected classification or regression.{did_you_mean(str(problem), PROBLEMS)}"
        )
    chosen = {"classification": classification, "regression": regression}[wanted]
    if chosen is not None:
        return str(chosen)
    other = PROBLEMS[wanted == "classification"]
    name = next(
        (entry for entry, choices in models().items() if choices == (classification, regression)),
        classification or regression,
    )
    fits = sorted(entry for entry, choices in models().items() if choices[PROBLEMS.index(wanted)])
    raise ConfigError(
        f"model={name} is for {other}, and the data's problem is {wanted} (data.problem). For it there are: {', '.join(fits)}."
    )


def alternatives(text: str, problem: str | None = None) -> tuple[str, ...]:
    """All that a value may become, for one problem or for any: the choices of a `${by_problem:…}`, or the value itself."""
    match = _CALL.fullmatch(text.strip())
    if match is None:
        return (text,)
    choices = dict(zip(PROBLEMS, _choices(match), strict=True))
    return tuple(choice for each, choice in choices.items() if choice is not None and problem in (None, each))


def refusal(error: Exception) -> str | None:
    """The message of the ConfigError that a resolver raised; OmegaConf keeps no more of it than the text."""
    match = _RAISED.fullmatch(str(error))
    return match["message"].strip() if match else None


def processes(device: str = "auto", *, _root_: DictConfig) -> int:
    """`num_devices`, here or, with a `cluster`, on the nodes that a job asks for: a process a GPU there, else
    `tasks_per_node` of each. A job of one node that says neither has two."""
    cluster = _root_.get("cluster")
    if not cluster:
        return num_devices(device)
    nodes, gpus = int(cluster.get("nodes") or 1), cluster.get("gpus_per_node")
    if gpus:
        return nodes * int(gpus)
    tasks = nodes * int(cluster.get("tasks_per_node") or 1)
    return tasks if tasks > 1 else ON_CPU


def num_devices(device: str = "auto") -> int:
    """How many processes `parallel.device` has room for: one a GPU that torch will see, and 2 on CPUs.

    Read off the system and torch's files: nothing is imported, and no GPU is touched by the driver. A GPU that is not
    NVIDIA's is not counted.
    """
    if device.partition(":")[0] not in ("auto", "cuda") or not _has_cuda():
        return ON_CPU
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(list(Path("/proc/driver/nvidia/gpus").glob("*"))) or ON_CPU
    return len([each for each in visible.split(",") if each.strip() not in ("", "-1")]) or ON_CPU


def _has_cuda() -> bool:
    """Whether the torch that is installed was built with CUDA."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return False
    text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    return re.search(r"^cuda\b.*= *'", text, re.MULTILINE) is not None


def architectures(task: str, *names: str) -> str:
    """Those of these entries of conf/model that a task provides what they need for, as a choice.

    Raises ConfigError where there is none.
    """
    provided = set(signature(task).facts.get("provides", ()))
    nodes = {name: OmegaConf.load(CONF / "model" / f"{name}.yaml") for name in names}
    found = [name for name, node in nodes.items() if set(signature(node._target_).required) <= provided | set(node)]
    if not found:
        raise ConfigError(
            f"search=nas: {task.rpartition('.')[2]} goes with none of {', '.join(names)}; name networks of your own: model=a,b"
        )
    return f"choice({','.join(found)})"


def register() -> None:
    """Make the words known to OmegaConf; twice does no harm."""
    OmegaConf.register_resolver("architectures", architectures, replace=True)
    OmegaConf.register_resolver("by_problem", by_problem, replace=True)
    OmegaConf.register_resolver("num_devices", processes, replace=True)


def _choices(match: re.Match[str]) -> tuple[str | None, ...]:
    return tuple(None if choice.strip() == "null" else choice.strip() for choice in match["choices"].split(","))


def models() -> dict[str, tuple[str | None, ...]]:
    """The entries of conf/model that follow the problem, with their two targets."""
    found = {}
    for path in sorted((CONF / "model").glob("*.yaml")):
        match = _CALL.search(path.read_text(encoding="utf-8"))
        if match:
            found[path.stem] = _choices(match)
    return found


def run_id() -> str:
    """Four hex digits, so that two runs started in the same second do not share a folder."""
    return os.urandom(2).hex()
