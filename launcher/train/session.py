"""What stands around the loop of a fit, whichever it is: header, records, page, the exported model, the result."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from launcher.artifacts.result import RESULT
from launcher.config.instantiate import plain_dict
from launcher.core.algorithm import overriding
from launcher.core.run import LEAVES
from launcher.errors import TrainingError
from launcher.process.garbage import begin
from launcher.report.live_page import LivePage

from .evidence import gather_seen
from .failures import explain
from .finish import close, look_closer, write_model
from .header import header_of, sizes_of, told_to_trackers
from .threads import keep_memory, suitable_threads

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from launcher.artifacts.provenance import Provenance
    from launcher.console.console import Console
    from launcher.core.run import Run


class Session:
    """One process's share of a fit, from what its header says to result.json: `begin`, `fit`, `close`, in this order.

    The main rank alone writes. Its folder has a result from the moment that a fit fails, and whoever reads it before has
    none.
    """

    def __init__(self, config: DictConfig, run: Run, console: Console, provenance: Provenance | None) -> None:
        assert run.loop is not None, "it is built by the loop that trains it"
        self.config, self.run, self.loop, self.console, self.provenance = config, run, run.loop, console, provenance
        self.counts = sizes_of(run.data) | self.loop.sizes(run)
        self.seconds = 0.0  # of this process, in the loop

    def begin(self, resumed: bool) -> None:
        """Show the header, and begin the records; from here on the run's folder is its own."""
        run, main = self.run, self.run.parallel.is_main
        header = header_of(self.config, run) | self.counts | self.loop.header(run)
        if "resume" in self.loop.can:
            header["resumed_from"] = run.progress.step if resumed else None
        self.console.header(header)
        self._told_of = partial(told_to_trackers, header, run.folder, self.provenance, run.data)
        if main:
            (run.folder / RESULT).unlink(missing_ok=True)  # of an earlier session; from now on it would tell a lie
            run.recorder.start(plain_dict(self.config), self._told_of)
        self._first_step, self._first_tokens = run.progress.step, run.progress.tokens
        self._started = run.progress.started = time.monotonic()
        if self.provenance is not None:
            self.provenance.training(run.progress.wall_s)

    def fit(self) -> None:
        """Train, and after the last step export the best model. Raises what went wrong, explained, after result.json has
        it."""
        run, main, steps = self.run, self.run.parallel.is_main, "steps" in self.loop.can
        page: LivePage | None = None
        try:
            if steps:
                self.console.start(run)
                page = LivePage(run.folder, lambda: gather_seen(run.task, run.data, run.seen)) if main else None
                keep_memory()
            begin()
            with suitable_threads(run) if steps else contextlib.nullcontext():
                self.loop.fit(run)
            self.seconds = time.monotonic() - self._started
            if run.stop not in LEAVES and main:
                if page is not None:
                    page.close()  # what follows is the last word
                self._conclude()
        except Exception as error:
            self._fail(error)
        finally:
            self.console.stop()
            if page is not None:
                page.close()

    def _conclude(self) -> None:
        """On the main rank: the model that is exported, and what it says of the held-out samples."""
        run = self.run
        model = self.loop.best_model(run)
        for hook in overriding(run.algorithms, "fit_end"):
            hook(run)
        look_closer(run, self.loop, model)
        if run.settings.export:
            write_model(run.task, model, run.folder)

    def _fail(self, error: Exception) -> NoReturn:
        explained = explain(error, self.run)
        if self.run.parallel.is_main:
            with contextlib.suppress(OSError, TrainingError):  # the disk that failed the run may fail this too
                self._told_of()
                failed = state_of(self.run) | self.counts | {"status": "failed", "reason": str(explained)}
                close(self.config, self.run, failed, self.console)
        if explained is error:
            raise error
        raise explained from error

    def close(self) -> dict[str, Any]:
        """Write the result and the page, and end the trackers; returns what stands in result.json."""
        run = self.run
        steps, samples = run.progress.step - self._first_step, run.settings.batch_size
        rates = {"steps_per_s": steps / self.seconds, "samples_per_s": steps * samples / self.seconds}
        if run.progress.tokens:
            rates["tokens_per_s"] = (run.progress.tokens - self._first_tokens) / self.seconds
        result = state_of(run) | self.counts | rates
        if run.parallel.is_main:
            result = close(self.config, run, result, self.console)
        run.parallel.barrier()
        return result


def state_of(run: Run) -> dict[str, Any]:
    """What a run can say of itself at any time: where it stands and how good it was at its best."""
    name, direction = run.objective
    status = {
        None: "completed",
        "max_time": "completed",
        "preempted": "preempted",
        "pruned": "pruned",
        "paused": "pruned",
    }
    return {
        "status": status.get(run.stop, "stopped"),
        "reason": run.stop or run.plan.ended_by,
        "objective": {
            "name": name,
            "value": run.metrics.get(name) if run.best.value is None else run.best.value,
            "direction": direction,
        },
        "metrics": run.metrics | run.best.metrics,
        "best_step": run.best.step,
        "steps": run.progress.step,
        "epochs": run.epoch,
        "wall_s": run.progress.elapsed(),
        "world_size": run.parallel.world_size,
    }
