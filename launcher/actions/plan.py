"""`action=plan`: what a run would do and what it needs; no run is started and no folder is made."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from launcher.config.instantiate import instantiate, plain_dict
from launcher.config.signatures import locate, signature
from launcher.console.console import Console
from launcher.console.numbers import count, number, size, span, things
from launcher.core.run import Plan
from launcher.errors import DONE, ConfigError
from launcher.launch.driver import script_of
from launcher.launch.procedure import num_jobs
from launcher.launch.start.wait import wait
from launcher.optim.build import build_scheduler
from launcher.optim.schedulers.lengths import lengths
from launcher.preflight.advice import advice, cheapest, fits, said, speed
from launcher.preflight.capacity import host_memory, on_host, room
from launcher.preflight.first_steps import rehearse, share_of_steps
from launcher.preflight.memory_estimate import Estimate, Estimator
from launcher.report.line_chart import Series
from launcher.report.svg_file import picture
from launcher.train.build import build_plan

COLUMNS, LINES = 64, 8
"""Of the curve on a terminal."""
MARGIN, OPERATIONS = 3, 1e12
"""Steps are taken where the estimate is below one part of so many of the machine's memory, and they have so few operations:
some ten seconds on two cores. It does not go by the speed found here, so that a busy machine says the same."""
LEVELS = " ▁▂▃▄▅▆▇█"


def act(config: DictConfig, folder: Path, resumed: bool) -> int:
    """Print the plan and the script that a cluster would get. Raises ConfigError as a run would."""
    if config.start and not resumed:
        wait(config, folder)  # which says when, and waits for nothing
    status = show(config)
    if config.cluster:
        print(f"\nWhat would be submitted; nothing was.\n\n{script_of(config, folder)}")
    return status


def show(config: DictConfig) -> int:
    """Print the plan and draw the schedule's curve; returns the exit status."""
    console = Console()
    if signature(str(config.model._target_)).facts.get("estimator"):
        console.message("a scikit-learn estimator is fitted in one call: there are no steps to plan")
        return DONE
    picture_file = config.plan.picture
    if picture_file is not None and not Path(picture_file).absolute().parent.is_dir():
        raise ConfigError(f"plan.picture={picture_file}: there is no folder {Path(picture_file).parent}")
    estimator = Estimator(config)
    data = estimator.data
    plan = build_plan(config, len(data.train) // config.training.batch_size)
    if plan.steps_per_epoch == 0:
        raise ConfigError(
            f"training.batch_size={config.training.batch_size} is larger than the training data: {len(data.train)} samples"
        )
    console.header(facts(config, plan, judged=data.val is not None) | memory(config, estimator))
    if plan.total_steps is None:
        return DONE
    rates = curve(config, plan)
    for line in drawn(rates, sys.stdout.encoding or "ascii"):
        console.message(line)
    if picture_file is not None:
        rate = Series("learning rate", list(enumerate(rates)))
        Path(picture_file).write_text(picture([rate], "step", log_up=False), "utf-8")
        console.message(f"drawn: {picture_file}")
    return DONE


def facts(config: DictConfig, plan: Plan, judged: bool) -> dict[str, Any]:
    """What there is to say, in the words of the console's header."""
    total, timed = plan.total_steps, plan.max_time
    known: dict[str, Any] = {
        "name": config.name,
        "steps": total,
        "epochs": None if total is None else total / plan.steps_per_epoch,
        "batch_size": config.training.batch_size,
        "steps_an_epoch": count(plan.steps_per_epoch),
        "ends": None if timed is None else f"after {span(timed)} at the latest",
    }
    num = num_jobs(config)
    if num > 1:
        known["fits"] = f"{num}, each as below"
    known |= _rate(config, plan)
    known["evaluations"] = _often(plan.eval_every, total, ends=True) if judged else "none: nothing is held out"
    known["checkpoints"] = _often(plan.checkpoint_every, total, ends=True)
    if plan.checkpoint_seconds:
        known["checkpoints"] += f", each at least {span(plan.checkpoint_seconds)} after the one before"
    known["log_lines"] = _often(plan.log_every, total, ends=True)
    return known


def memory(config: DictConfig, estimator: Estimator) -> dict[str, str]:
    """What a rank needs, whether there is so much, and what a step has to compute."""
    found, there = estimator.estimate(config), room(config)
    precision = instantiate(config.precision)
    device = torch.device("cuda" if torch.cuda.is_available() and not on_host(config) else "cpu")
    rate = speed(device, precision.dtype)
    kinds = ("parameters", "gradients", "optimizer", "activations", "buffers", "extra")
    parts = [(kind, getattr(found, kind)) for kind in kinds]
    told = ", ".join(f"{kind} {size(num)}" for kind, num in parts if num >= 1024)
    ranks = "" if config.parallel.num_processes == 1 else " a rank"
    known = {"memory": f"{size(found.peak)}{ranks} of tensors at the peak, in {found.moment}: {told}"}
    taken = rehearse(config) if worthwhile(config, found) else None
    if taken is not None:
        known["process"] = (
            f"a peak of {size(taken.peak)}, measured in {things(taken.steps, 'step')} here: "
            f"{size(taken.peak - taken.before)} over the {size(taken.before)} that are resident before the model is built"
        )
        there = replace(there, taken=max(0, taken.peak - found.peak))
    known["verdict"] = said(found, there)
    if not fits(found, there):
        known["instead"] = advice(cheapest(estimator, config, found, there))
    if found.left_out:
        known["not counted"] = f"{' and '.join(found.left_out)}, which look into their tensors"
    seconds = found.flops / rate / config.parallel.num_processes
    known["work"] = (
        f"{operations(found.flops)} a step, at least {span(seconds) if seconds >= 1 else f'{1000 * seconds:.3g} ms'} "
        f"at the {operations(rate)}/s that products of matrices reach here ({device.type}, {str(precision.dtype).removeprefix('torch.')})"
    )
    return known


def worthwhile(config: DictConfig, found: Estimate) -> bool:
    """Whether a few steps can be taken here to see what memory their process has: a run of one process on this CPU, that
    is far from filling its memory, is done with them in seconds, and has no weights to fetch first."""
    if not config.plan.measure or not on_host(config) or config.parallel.num_processes > 1 or config.cluster:
        return False
    if hasattr(locate(str(config.model._target_)), "blank"):  # which loads its weights, from elsewhere maybe
        return False
    return MARGIN * found.peak < host_memory() and found.flops * share_of_steps(config) < OPERATIONS


def operations(num: float) -> str:
    """Floating-point operations: 12.3 GFLOP."""
    unit = min(4, max(0, int(math.log10(max(num, 1)) // 3)))
    return f"{num / 1000**unit:.3g} {('', 'k', 'M', 'G', 'T')[unit]}FLOP"


def _rate(config: DictConfig, plan: Plan) -> dict[str, Any]:
    node = plain_dict(config.scheduler)
    if plan.total_steps is None:
        return {"rate": f"{config.optimizer.lr} at first; what it becomes depends on how many steps the time allows"}
    found = lengths(node, plan.total_steps, plan.steps_per_epoch)
    rates = curve(config, plan)
    unit = " times what the range test finds" if config.optimizer.lr == "auto" else ""
    top = max(range(len(rates)), key=rates.__getitem__)
    said = f"{number(rates[0])} at first, {number(rates[top])} at step {count(top + 1)}, {number(rates[-1])} at the end{unit}"
    if "metric" in node:
        said += f"; times {node['factor']:g} after {node['patience']} evaluations without a better {node['metric']}"
    steps = found.settings.get("warmup_steps", found.warmup_steps)
    shape = node.get("shape", found.warmup_shape) if "warmup_steps" in found.settings else found.warmup_shape
    share = f"{steps / plan.total_steps:.0%} of the run, {shape}"
    return {"rate": said, "warm-up": f"{things(steps, 'step')}, {share}" if steps else "none"}


def _often(every: int | None, total: int | None, ends: bool) -> str:
    if every is None:
        return "1, at the end" if ends else "none"
    if total is None:
        return f"every {things(every, 'step')}"
    num = -(-total // every)
    return f"{count(num)}, every {things(every, 'step')}"


def curve(config: DictConfig, plan: Plan) -> list[float]:
    """The rate of each step of the run, of parameters without a rate of their own (1 for `optimizer.lr=auto`)."""
    assert plan.total_steps is not None
    first = 1.0 if config.optimizer.lr == "auto" else float(config.optimizer.lr)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=first, momentum=0.9)
    scheduler = build_scheduler(config.scheduler, optimizer, plan.total_steps, plan.steps_per_epoch)
    rates = []
    for _ in range(plan.total_steps):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.step()
    return rates


def drawn(rates: Sequence[float], encoding: str) -> list[str]:
    """A curve as lines of text: a column is the mean of a stretch of steps, the frame's top is the highest rate."""
    num = min(COLUMNS, len(rates))
    parts = [rates[part * len(rates) // num : (part + 1) * len(rates) // num] for part in range(num)]
    means = [sum(part) / len(part) for part in parts]
    top = max(rates) or 1.0
    plain = "█".encode(encoding, "ignore") == b""
    labels = [number(top), *[""] * (LINES - 2), "0"]
    width = max(map(len, labels))
    lines = []
    for line in range(LINES):
        cells = [min(8, max(0, round(8 * (LINES * mean / top - (LINES - 1 - line))))) for mean in means]
        row = "".join(("#" if cell >= 4 else " ") if plain else LEVELS[cell] for cell in cells)
        lines.append(f"{labels[line]:>{width}} {'|' if plain else '│'}{row}".rstrip())
    last = f"step {count(len(rates))}"
    lines.append(f"{'':>{width}}  {'1':<{max(1, num - len(last))}}{last}")
    return lines
