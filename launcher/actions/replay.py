"""`action=replay`: a run that is over, told to trackers that it did not have or could not reach."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from launcher.artifacts import evidence, provenance
from launcher.artifacts.folder import group_of, locked, refuse_links
from launcher.artifacts.result import checked_result
from launcher.config.instantiate import plain_dict
from launcher.config.resume import load
from launcher.console.console import Console
from launcher.console.numbers import things
from launcher.errors import DONE, FAILED, ConfigError
from launcher.trackers.recorder import Recorder
from launcher.train.build import build_trackers
from launcher.train.finish import hand_over, show


def act(config: DictConfig, folder: Path, resumed: bool) -> int:
    """Tell `config.tracker` all that the run in `config.run` would have told them. Raises ConfigError for a run that has
    not ended."""
    console, folder = Console(), Path(config.run)
    refuse_links(folder)
    saved, result = load(folder, "run"), checked_result(folder)
    if result is None or result["status"] == "preempted":
        raise ConfigError(
            f"run={folder}: that run is not over; resume={folder} tracker=[…] goes on with it and tells all"
        )
    if result.get("fits"):
        raise ConfigError(
            f"run={folder}: that run is made of fits; run={folder / result['fits'][0]['name']} is one of them"
        )
    if not config.tracker:
        raise ConfigError("action=replay: to which trackers? tracker=[mlflow], say")
    with locked(folder):
        recorder = Recorder(folder, build_trackers(config), warn=console.warning)
        recorder.start(plain_dict(saved), partial(_facts, saved, folder, result))
        recorder.retell()
        show(recorder, evidence.read(folder))
        hand_over(recorder, folder)
        recorder.close(result, patient=True)
    for name in config.tracker:
        if name not in recorder.failures:
            console.message(f"{name}: has the whole run now, {things(recorder.step, 'step')}")
    return FAILED if recorder.failures else DONE


def _facts(config: DictConfig, folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """What a tracker is told of a run, as far as its folder knows."""
    facts: dict[str, Any] = {"name": config.name, "seed": config.seed, "folder": folder}
    facts |= {group: str(config[group]._target_).rpartition(".")[2] for group in ("task", "model", "data")}
    known = {"parameters": "parameters", "trainable_parameters": "trainable_parameters", "world_size": "ranks"}
    facts |= {name: result[key] for key, name in known.items() if result.get(key) is not None}
    session = provenance.read(folder) or {}
    session.pop("before", None)
    return facts | {"group": group_of(folder), "provenance": session}
