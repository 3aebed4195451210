"""`resume=<folder>`: the run's own config again, with the few overrides that leave its mathematics alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launcher.adapters.hydra import given
from launcher.adapters.omegaconf import child
from launcher.artifacts.files import damaged
from launcher.artifacts.folder import CONFIG, FORMAT, read_config, refuse_links
from launcher.artifacts.result import checked_result
from launcher.artifacts.sweep import JOURNAL, TRIALS
from launcher.errors import ConfigError

from . import compose, file_errors, schema
from .finishing import finish
from .groups import GROUPS
from .origins import Origins, line_of

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from launcher.adapters.hydra import Hydra

ALLOWED = (
    *(name for name, group in GROUPS.items() if group.resumable),
    "loading",
    "debug",
    "training.max_epochs",
    "training.max_steps",
    "training.max_time",
    "training.stop_after",
)
"""What may change between a run's halves: where it runs, how long, and what is written beside it."""

LENGTHS = {"max_epochs": "epochs", "max_steps": "steps", "max_time": "wall_s", "stop_after": "epochs"}
"""The limits of a run, and the entries of result.json that say how far it came."""


def asked(overrides: list[str]) -> bool:
    """Whether the command continues a run."""
    return any(word.startswith("resume=") and word != "resume=null" for word in overrides)


def resume(hydra: Hydra, overrides: list[str], config_name: str) -> compose.Composed:
    """The config of the run to continue, with the overrides in it. Raises ConfigError."""
    parsed = compose.parse(hydra, config_name, overrides)
    by_key = {override.key_or_group: override for override in parsed}
    folder = Path(str(by_key.pop("resume").value()))
    refused = [str(override.input_line) for key, override in by_key.items() if not _allowed(key)]
    if refused:
        raise ConfigError(
            f"{', '.join(refused)}: a resumed run keeps its config; what may change is {', '.join(ALLOWED)}"
        )
    saved = load(folder)
    config = _apply(hydra, saved.copy(), list(by_key.values()), config_name)
    refuse_complete(folder, saved, config)

    def where(key: str) -> str:
        if key in by_key:
            return str(by_key[key].input_line)
        line = line_of(folder / CONFIG, key.split("."))
        return f"{folder / CONFIG}:{line}: {key}" if line else key

    return compose.Composed(config, folder, where)


def _allowed(key: str) -> bool:
    return any(key == entry or key.startswith(entry + ".") for entry in ALLOWED)


def load(folder: Path, word: str = "resume") -> DictConfig:
    """The config of a run's folder, checked against the schema. Raises ConfigError for what is no such folder."""
    start = f"{word}={folder}: "
    if not folder.is_dir():
        raise ConfigError(
            f"{start}{'that is a file' if folder.exists() else 'no such folder'}; a run's folder is wanted, such as outputs/<date>/<time>-<id>"
        )
    if not (folder / CONFIG).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        if (folder / JOURNAL).exists() or (folder / TRIALS).exists():
            raise ConfigError(
                f"{start}that is a sweep's folder; the same command with -m and the same hydra.sweeper.study_name continues a sweep"
            )
        near = f"; it holds the runs {', '.join(inside[:3])}{', ...' if len(inside) > 3 else ''}" if inside else ""
        raise ConfigError(f"{start}no run is here (there is no config.yaml){near}")
    refuse_links(folder)
    try:
        loaded = read_config(folder)
        found = loaded.get("format")
        if found is None:
            raise damaged(folder / CONFIG, "'format' is missing")
        if found != FORMAT:
            raise ConfigError(f"{start}the run was written in format {found}; this launcher reads format {FORMAT}")
        config = OmegaConf.merge(OmegaConf.structured(schema.Config), loaded)
    except OmegaConfBaseException as error:
        raise ConfigError(file_errors.in_file(folder / CONFIG, error)) from error
    assert isinstance(config, DictConfig)
    missing = absent(schema.Config, loaded)
    if missing:  # a default is not what the run had
        raise damaged(folder / CONFIG, f"{missing!r} is missing")
    if word == "resume" and config.action != "train":
        raise ConfigError(f"{start}action={config.action} wrote this folder; there is no training in it to go on with")
    return config


def absent(cls: Any, node: Any, path: str = "") -> str | None:
    """The first key of the schema that a config has not, as a file that was cut short has not."""
    for field in dataclasses.fields(cls):
        if field.name not in node:
            return f"{path}{field.name}"
        nested: Any = field.default_factory
        if dataclasses.is_dataclass(nested) and (found := absent(nested, node[field.name], f"{path}{field.name}.")):
            return found
    return None


def _apply(hydra: Hydra, config: DictConfig, overrides: list[Override], config_name: str) -> DictConfig:
    """The saved config with whole groups taken from a fresh composition, then single keys set."""
    origins = Origins(compose.loader_of(hydra), config_name, overrides)
    groups = [each for each in overrides if "." not in each.key_or_group and not isinstance(given(each), dict)]
    if groups:
        fresh = compose.whole(hydra, Origins(origins.loader, config_name, groups))
        for override in groups:
            OmegaConf.update(config, override.key_or_group, child(fresh, override.key_or_group), merge=False)
    OmegaConf.set_struct(config, True)
    for override in overrides:
        if override not in groups:
            compose.set_key(config, override, origins)
    return finish(config, origins)


def refuse_complete(folder: Path, saved: DictConfig, config: DictConfig) -> None:
    """Refuse a run that has nothing left to do, judged with the overrides in place. Raises ConfigError."""
    result = checked_result(folder)
    if result is None or result["status"] not in ("completed", "stopped", "pruned"):
        return
    reached = [
        name for name in LENGTHS if _limit(config, name) is not None and _done(result, name) >= _limit(config, name)
    ]
    longer = any(
        _limit(saved, name) is not None and (_limit(config, name) or float("inf")) > _limit(saved, name)
        for name in LENGTHS
    )
    # A completed run that has not reached its limits was given longer ones, and killed before it went on.
    if reached or not (longer or result["status"] == "completed"):
        how = "completed" if result["status"] == "completed" else f"{result['status']}: {result['reason']}"
        name = reached[0] if reached else "max_epochs"
        raise ConfigError(
            f"resume={folder}: the run is complete ({how}; {result['steps']} steps, {result['epochs']:g} epochs). "
            f"It goes on with a larger training.{name}{_now(config, name)}"
        )


def _limit(config: DictConfig, name: str) -> Any:
    value = config.training[name]
    return schema.duration(value) if name == "max_time" else value


def _done(result: dict[str, Any], name: str) -> float:
    fits = len(result.get("fits", [])) or 1  # a procedure's result counts the steps of all its fits together
    done = float(result[LENGTHS[name]]) / fits + 1e-6
    # A run ends a little before its time, so that the last evaluation and the save are in it.
    return 1.1 * done + 1 if name == "max_time" and result["reason"] == "max_time" else done


def _now(config: DictConfig, name: str) -> str:
    value = config.training[name]
    return "" if value is None else f" than {value:g}" if isinstance(value, int | float) else f" than {value}"
