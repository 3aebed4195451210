"""Hydra's own keys: those that a run fills in, as `${hydra:job.num}`, and those that are refused, because nothing here obeys them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict

from launcher.adapters.omegaconf import child, raw_value
from launcher.errors import ConfigError

LAUNCHERS = ("BasicLauncher", "SlurmLauncher", "LocalLauncher")
"""Classes that `hydra/launcher` may name: one run after the other, and hydra-submitit-launcher's, which mean ours."""
MULTIRUN = "multirun"
"""Where sweeps lie if nothing says otherwise."""
_CHOSEN = {
    "hydra/job_logging": "what a run prints goes to the terminal and to its log.txt",
    "hydra/hydra_logging": "what a run prints goes to the terminal and to its log.txt",
}
_SET = {
    "hydra.sweep.subdir": "a trial's folder is its number; hydra.sweep.dir says where they are",
    "hydra.job.chdir": "a run stays in the folder of its command; ${hydra:runtime.output_dir} is its own",
    "hydra.callbacks": "no callback of Hydra's is called; monitor=[…] and tracker=[…] hear of a run",
    "hydra.job.env_set": "a run has the environment of its command",
    "hydra.job.env_copy": "a run has the environment of its command",
    "hydra.output_subdir": "a run's folder holds its config.yaml; nothing is written below it",
    "hydra.verbose": "debug=true shows more",
}
_OF_HYDRA = {"hydra.output_subdir": ".hydra"}
"""What Hydra has where the primary config says nothing, as a run's own config.yaml does."""


@dataclass(frozen=True)
class Job:
    """A trial's place in its sweep: its number, the sweep's folder, and what the sweep was told under `hydra`."""

    number: int
    folder: Path
    told: DictConfig


def refuse(config: DictConfig, words: Sequence[Override]) -> None:
    """Raises ConfigError for a key of Hydra's that was set, by the command or in a file, and that would change nothing."""
    typed = {word.key_or_group: str(word.input_line) for word in words}
    for key, why in _SET.items():
        node = OmegaConf.select(config, key.rpartition(".")[0])
        if node is None or OmegaConf.is_missing(node, key.rpartition(".")[2]):
            continue
        raw = child(node, key.rpartition(".")[2])
        value: Any = OmegaConf.to_container(raw) if OmegaConf.is_config(raw) else raw_value(raw)
        if value == _OF_HYDRA.get(key) and key not in typed:
            continue
        if value not in (None, False, {}, [], "${hydra.job.num}"):
            below = next((word for name, word in typed.items() if f"{name.lstrip('+')}.".startswith(f"{key}.")), None)
            raise ConfigError(f"{below or f'{key}={value}'}: {why}")
    choices = config.hydra.runtime.choices
    for group, why in _CHOSEN.items():
        if choices.get(group) not in (None, "default"):
            raise ConfigError(f"{typed.get(group, f'{group}={choices[group]}')}: {why}")
    target = str(config.hydra.launcher.get("_target_"))
    if target.rpartition(".")[2] not in LAUNCHERS and choices.get("hydra/launcher") not in (
        "submitit_local",
        "submitit_slurm",
    ):
        given = typed.get("hydra/launcher", f"hydra/launcher={choices.get('hydra/launcher')}")
        raise ConfigError(
            f"{given}: trials are run by hydra.sweeper.n_jobs=…, so many at a time on this machine, or by cluster=slurm"
        )


def fill(config: DictConfig, words: Sequence[Override], job: Job | None = None) -> None:
    """Give the config of a run, or of a sweep's trial, what Hydra knows of it when it runs it."""
    with open_dict(config):
        hydra = config.hydra
        own = [str(word.input_line) for word in words if not word.key_or_group.startswith("hydra")]
        hydra.overrides.task = [line.replace("${", r"\${") for line in own]  # words, and no values any more
        if job is None:
            HydraConfig.instance().set_config(config)  # which the folder may be named after
            with flag_override(hydra, "readonly", False):
                hydra.runtime.output_dir = str(Path(str(hydra.run.dir)).absolute())
            return
        hydra.job.num, hydra.job.id = job.number, f"{job.folder.name}-{job.number}"
        hydra.job.name, hydra.job.config = job.told.job.name, job.told.job.config
        hydra.sweep.dir = str(job.told.sweep.dir)
        hydra.sweep.subdir = str(job.number)
        hydra.runtime.output_dir = str((job.folder / str(job.number)).absolute())


def told_place(config: DictConfig, folder: Path, say: Callable[[str], None]) -> None:
    """Say where a sweep's trials are, where `hydra.sweep.dir` is another place than usual."""
    place = Path(str(config.hydra.sweep.dir))
    if str(place) != MULTIRUN and folder != place:
        say(
            f"hydra.sweep.dir={place}: this study is {folder}, its trials {folder / '0'}, …; "
            f"hydra.sweeper.study_name=. is {place / '0'}, …"
        )
