"""Draws the pictures of the pages: `python docs/images/draw.py`. They are committed; `tests/functional/test_images.py` holds them to the code.

What follows from formulas is drawn from these; what was measured, from `measured.json` beside this file: the pages say
by which commands. `folds.py` draws which rows a validation holds out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from launcher import CONF
from launcher.functional.mixing import box, cut, mix
from launcher.monitors.gradient_health import SMALLEST_MAD, GradientHealth
from launcher.monitors.stopping.early_stopping import EarlyStopping
from launcher.optim.build import build_scheduler
from launcher.preflight.lr_find import Found
from launcher.preflight.lr_find import drawn as range_test
from launcher.report.line_chart import Series
from launcher.report.svg_file import STYLE, picture
from launcher.tasks.data.digits import Digits

FOLDER = Path(__file__).parent
MEASURED: dict[str, Any] = json.loads((FOLDER / "measured.json").read_text(encoding="utf-8"))
STEPS, EPOCH = 200, 10


def entry(group: str, name: str, **settings: object) -> DictConfig:
    """The node of a file of conf/, with what it takes from elsewhere."""
    content = OmegaConf.load(CONF / group / f"{name}.yaml")
    given = {"objective": {"metric": "val/loss", "direction": "minimize"}, "seed": 0}
    node = OmegaConf.create(given | {group: content.get(group, content)})
    OmegaConf.resolve(node)
    merged = OmegaConf.merge(node[group], settings)
    assert isinstance(merged, DictConfig)
    return merged


def drawn(curves: Mapping[str, Sequence[float]], across: str = "step", first: float = 0, by: float = 1) -> str:
    """Curves by their names, whose points lie `by` apart."""
    lines = [Series(said, [(first + by * at, y) for at, y in enumerate(ys)]) for said, ys in curves.items()]
    return picture(lines, across, log_up=False)


# -- schedules


def rates(name: str, **settings: object) -> list[float]:
    """A schedule's curve as a share of `optimizer.lr`, over 20 epochs of ten steps with an evaluation each."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = build_scheduler(entry("scheduler", name, **settings), optimizer, STEPS, EPOCH)
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


def warmup() -> str:
    shapes = ("linear", "cosine")
    return drawn(
        {f"scheduler.warmup_shape={each}": rates("constant", warmup=0.25, warmup_shape=each) for each in shapes}
    )


# -- augmentation, regularisation, stopping, health


def pictures() -> str:
    """Two digits, what Mixup makes of them, and what CutMix does, with the targets below."""
    digits = Digits().images()
    rows = [int(np.flatnonzero(digits.labels == label)[3]) for label in (3, 0)]
    pair = torch.from_numpy(digits.pixels[rows]).double()
    partners, share = torch.tensor([1, 0]), 0.6
    across, down = box(share, 8, 8, np.random.default_rng(5))
    pasted, own = cut(pair, partners, across, down)
    shown = [
        ("x", pair[0], "3"),
        ("x'", pair[1], "0"),
        ("mixup", mix(pair, partners, share)[0], f"3: {share:.2f}, 0: {1 - share:.2f}"),
        ("cutmix", pasted[0], f"3: {own:.2f}, 0: {1 - own:.2f}"),
    ]
    pixel, apart = 9, 92
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{8 * apart}" viewBox="-8 0 {4 * apart} 112" role="img"><style>{STYLE}</style>'
    ]
    for place, (title, image, targets) in enumerate(shown):
        left = place * apart
        out.append(f'<text x="{left}" y="12">{escape(title)}</text><text x="{left}" y="106">{escape(targets)}</text>')
        for row in range(8):
            for column in range(8):
                value = float(image[0, row, column])
                out.append(
                    f'<rect x="{left + column * pixel}" y="{18 + row * pixel}" width="{pixel}" height="{pixel}" fill="#2f6fdf" fill-opacity="{0.06 + 0.94 * value:.2f}"/>'
                )
    return "".join(out) + "</svg>\n"


def shares() -> str:
    """The density of Beta(alpha, alpha), from 2 % to 98 %."""
    at = torch.linspace(0.02, 0.98, 97, dtype=torch.float64)
    kinds = {alpha: torch.distributions.Beta(torch.tensor(alpha).double(), alpha) for alpha in (0.2, 0.4, 1.0, 2.0)}
    lines = {f"alpha={alpha:g}": each.log_prob(at).exp().tolist() for alpha, each in kinds.items()}
    return drawn(lines, "λ in %", first=2)


def smoothing() -> str:
    """The loss of ten classes over how far the true one's logit is above the others."""
    margins = torch.linspace(0, 12, 121)
    logits = torch.nn.functional.pad(margins[:, None], (0, 9))
    losses = {
        f"smoothing={each:g}": torch.nn.functional.cross_entropy(
            logits, torch.zeros(121, dtype=torch.int64), reduction="none", label_smoothing=each
        ).tolist()
        for each in (0.0, 0.1, 0.3)
    }
    return drawn(losses, "logit of the true class above the others", by=0.1)


def average() -> str:
    """A weight on its way from 3 to 0 with noise in its gradient, and two averages of it."""
    noise = np.random.RandomState(0).normal(size=STEPS)
    weights, kept = [3.0], {decay: [3.0] for decay in (0.9, 0.98)}
    for step in range(STEPS):
        weights.append(weights[-1] - 0.1 * (weights[-1] + 3 * noise[step]))
        for decay, found in kept.items():
            now = min(decay, (1 + step) / (10 + step))
            found.append(now * found[-1] + (1 - now) * weights[-1])
    return drawn({"weight": weights} | {f"ema, decay={decay:g}": found for decay, found in kept.items()})


def patience() -> str:
    """A validation loss, and where early stopping with a patience of 5 and of 2 ends the run."""
    noise = np.random.RandomState(3).normal(size=30)
    losses = [0.4 + 1.6 * 0.8**at + 0.012 * max(0, at - 12) + 0.02 * noise[at] for at in range(30)]
    series = [Series("val/loss", list(enumerate(losses, start=1)))]
    for allowed in (2, 5):
        monitor, run = EarlyStopping(patience=allowed), SimpleNamespace(stop=None, metrics={})
        for at, loss in enumerate(losses, start=1):
            monitor.eval_end(run, {"val/loss": loss})  # type: ignore[arg-type]  # all that it reads
            if run.stop:
                series.append(Series(f"patience={allowed} ends", [(at, loss)]))
                break
    at = min(range(30), key=losses.__getitem__)
    return picture(series, "evaluation", (at + 1, losses[at]), "best", log_up=False)


def health() -> str:
    """Norms with one that explodes, which then have grown for good; and the norm above which one is unhealthy."""
    monitor = GradientHealth()
    sizes = np.exp(0.3 * np.random.RandomState(0).normal(size=STEPS))
    sizes[60] *= 60
    sizes[120:] *= 40
    limits = []
    for size in sizes:
        monitor.judge(float(size))
        middle = float(np.median(monitor.history))
        mad = max(SMALLEST_MAD, float(np.median(np.abs(np.array(monitor.history) - middle))))
        limits.append(float(np.exp(middle + monitor.threshold * mad / 0.6745)))
    lines = [
        Series("norm", list(enumerate(sizes.tolist(), start=1))),
        Series("limit", list(enumerate(limits, start=1))[monitor.warmup :]),
    ]
    return picture(lines, "step", (61, float(sizes[60])), "unhealthy")


def measured(name: str, across: str, log_up: bool = False, log_across: bool = False) -> str:
    lines = [Series(said, [tuple(point) for point in points]) for said, points in MEASURED[name].items()]
    return picture(lines, across, log_up=log_up, log_across=log_across)


SCHEDULES: dict[str, Callable[[], str]] = {
    "warmup": warmup,
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
PICTURES: dict[str, Callable[[], str]] = {
    **{f"schedule_{name}": draw for name, draw in SCHEDULES.items()},
    "lr_find": lambda: range_test(Found(**MEASURED["lr_find"])),
    "optimizers": lambda: measured("optimizers", "step", log_up=True),
    "reliability": lambda: measured("reliability", "confidence in %"),
    "mixing": pictures,
    "mixup_shares": shares,
    "label_smoothing": smoothing,
    "ema": average,
    "patience": patience,
    "gradient_health": health,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")
