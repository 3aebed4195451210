"""Train: the run, in this process, in several, or on a cluster."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig


def act(config: DictConfig, folder: Path, resumed: bool) -> int:
    """Train, once it is time to begin."""
    if config.start and not resumed:  # what has begun goes on at once
        from launcher.launch.start.wait import wait

        left = wait(config, folder)
        if left is not None:
            return left
    from launcher.launch.driver import place

    return place(config, folder, resume=resumed)
