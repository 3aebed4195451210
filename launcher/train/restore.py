"""A run as one of its checkpoints has it: which one that is, and what to say where it does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.artifacts.checkpoint import inherited
from launcher.artifacts.checkpoint.checkpoints import Checkpoints
from launcher.artifacts.checkpoint.manifest import TornCheckpoint, verified
from launcher.artifacts.folder import MODEL
from launcher.core.run import Best, Run
from launcher.errors import ConfigError, beginning


def judged(checkpoints: Checkpoints, action: str) -> tuple[dict[str, Any], Path]:
    """The state that the best evaluation saw, and its folder; the newest, where none was the best.

    Raises ConfigError for one that is damaged, with the newest that is whole.
    """
    steps, best = checkpoints.steps(), checkpoints.folder / "best"
    if not steps:
        raise ConfigError(f"{checkpoints.folder}: no checkpoint is in it")
    step = steps[-1]
    if best.is_symlink() or best.exists():
        name = best.readlink().name if best.is_symlink() else best.name
        number = name.removeprefix("step-")
        if not number.isdecimal() or int(number) not in steps:
            what = f"a link to {name}, which is not there" if best.is_symlink() else "no link to a checkpoint"
            raise ConfigError(f"{best}: {what}; {_instead(checkpoints, None, action, best)}")
        step = int(number)
    folder = checkpoints.folder / f"step-{step}"
    try:
        return checkpoints.load(step), folder
    except TornCheckpoint as torn:
        raise ConfigError(f"{folder}: torn: {torn}; {_instead(checkpoints, step, action, folder)}") from torn


def _instead(checkpoints: Checkpoints, torn: int | None, action: str, gone: Path) -> str:
    """What can be done without the checkpoint that was wanted."""
    for step in reversed(checkpoints.steps()):
        if step != torn and _is_whole(checkpoints.folder / f"step-{step}"):
            away = f"{gone} and {checkpoints.folder / 'best'}" if gone.name != "best" else f"{gone}"
            return f"step-{step} is whole: with {away} taken away, action={action} takes that"
    run = checkpoints.folder.parent
    model = f"; {run / MODEL} holds what was exported" if (run / MODEL).is_dir() else ""
    return f"no other one is whole: resume={run} starts over{model}"


def _is_whole(folder: Path) -> bool:
    try:
        verified(folder)
    except (TornCheckpoint, ConfigError):
        return False
    return True


def take_up(run: Run, options: Sequence[str]) -> None:
    """Go on from the newest checkpoint in the run's folder, where there is one.

    One that was inherited from another run is the start of this one: the optimizer's `options` are this run's then, and
    it has no best evaluation yet, because the other run's lies in that one's folder.
    """
    state = run.checkpoints.load_last()
    if state is None:
        return
    step = state["progress"]["step"]
    anew = inherited.step_of(run.folder) == step
    restore(run, state, run.checkpoints.folder / f"step-{step}", options if anew else ())
    if anew:
        run.best = Best()


def restore(run: Run, state: dict[str, Any], folder: Path, own: Sequence[str] = ()) -> None:
    """Take up a checkpoint's state, but for the optimizer's options named in `own`, which stay the run's. Raises ConfigError where it is another model's, or another run's."""
    try:
        run.restore(state, own)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ConfigError(
            f"{folder}: not a checkpoint of the run that config.yaml describes ({type(error).__name__}: {beginning(error)}); "
            "with its own config.yaml, or without this folder, the run goes on"
        ) from error
