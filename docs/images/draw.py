"""Draws the pictures of the pages: `python docs/images/draw.py`. They are committed; `tests/schedule` holds them to the code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from launcher import CONF
from launcher.build import build_scheduler
from launcher.report.curves import Series
from launcher.report.picture import picture
from launcher.run import Plan

FOLDER = Path(__file__).parent
STEPS, EPOCH = 200, 10


def rates(name: str, **settings: object) -> list[float]:
    """A schedule's curve as a share of `optimizer.lr`, over 20 epochs of ten steps with an evaluation each."""
    objective = {"metric": "val/loss", "direction": "minimize"}
    node = {"objective": objective, "scheduler": OmegaConf.load(CONF / "scheduler" / f"{name}.yaml")}
    config = OmegaConf.create(node)
    OmegaConf.resolve(config)
    assert isinstance(config, DictConfig)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    plan = Plan(STEPS, EPOCH, None, None, None, 0.0, None)
    scheduler = build_scheduler(OmegaConf.merge(config.scheduler, settings), optimizer, plan)  # type: ignore[arg-type]
    found = []
    for step in range(1, STEPS + 1):
        found.append(scheduler.get_last_lr()[0])
        scheduler.step()
        if step % EPOCH == 0:
            scheduler.evaluated({"val/loss": max(0.5, 1 - step / STEPS)})  # better until the middle of the run
    return found


def schedule(name: str, **variants: dict[str, object]) -> str:
    """The curve of an entry as it is, and of it with other settings."""
    lines = {
        f"scheduler={name}": {},
        **{f"scheduler.{key.replace('__', '=')}".replace("0_", "0."): value for key, value in variants.items()},
    }
    return drawn({said: rates(name, **settings) for said, settings in lines.items()})


def drawn(curves: dict[str, list[float]]) -> str:
    """Curves by their names."""
    return picture([Series(said, list(enumerate(rates))) for said, rates in curves.items()], "step", log_up=False)


PICTURES: dict[str, Callable[[], str]] = {
    "warmup": lambda: drawn(
        {
            f"scheduler.warmup_shape={shape}": rates("constant", warmup=0.25, warmup_shape=shape)
            for shape in ("linear", "cosine")
        }
    ),
    "constant": lambda: schedule("constant", warmup__0_1={"warmup": 0.1}),
    "step": lambda: schedule("step", gamma__0_5={"gamma": 0.5}),
    "exponential": lambda: schedule("exponential", factor__0_1={"factor": 0.1}),
    "cosine": lambda: schedule("cosine", warmup__0={"warmup": 0}),
    "linear": lambda: schedule("linear", warmup__0={"warmup": 0}),
    "polynomial": lambda: schedule("polynomial", power__2={"power": 2.0}),
    "cyclic": lambda: schedule("cyclic", mode__triangular={"mode": "triangular"}),
    "onecycle": lambda: schedule("onecycle", shape__linear={"shape": "linear"}),
    "plateau": lambda: schedule("plateau", patience__2={"patience": 2}),
    "cosine_restarts": lambda: schedule("cosine_restarts", T_mult__1={"T_mult": 1}),
    "wsd": lambda: schedule("wsd", shape__linear={"shape": "linear"}),
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / f"schedule_{name}.svg").write_text(draw(), encoding="utf-8")
