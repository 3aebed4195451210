"""Data parallel over processes: each has the whole model, and gradients are averaged while backward runs."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from launcher.core.communication import Communication
from launcher.core.memory_shares import Shares
from launcher.memory.precision import Precision
from launcher.optim.base import with_weights

from .batch_norm import synchronise
from .communication.asynchronous import Asynchronous
from .communication.local_sgd import LocalSGD
from .communication.store import Told
from .distributed import Distributed
from .replicas import Group

if TYPE_CHECKING:
    from launcher.core.run import Run


class DDP(Distributed):
    """`torch.nn.parallel.DistributedDataParallel` through Accelerate (Li et al., 2020).

    Its hooks average over the ranks, in the way of `communication`; `forward_backward` scales each rank's sum so that
    the average is the gradient of the mean over the whole step. Batch norms take their statistics over all ranks.
    `timeout_s` ends a collective that some rank never joins. With one process it is that process and nothing is
    exchanged.

    Where `communication` keeps replicas, a rank's gradient is that of its own samples' mean, nothing is wrapped, and
    what is judged and saved is the mean of the replicas; each rank's own weights and moments are saved beside it. Where
    they are `apart`, it is what the main rank has of all of them, and saved with its moments alone.
    """

    def __init__(
        self,
        precision: Precision,
        communication: Communication,
        device: str = "auto",
        num_processes: int = 2,
        timeout_s: float = 600,
    ) -> None:
        super().__init__(precision, device, num_processes, timeout_s)
        self.communication = communication
        self._replicas = communication if isinstance(communication, LocalSGD) else None
        self._store = communication if isinstance(communication, Asynchronous) and self.world_size > 1 else None
        self.apart = self._store is not None
        self.timeout_s = timeout_s
        self._met, self._asked = True, False

    @property
    def engine(self) -> str | None:
        if self.world_size == 1:
            return None
        name = "" if type(self.communication).__name__ == "AllReduce" else f", {type(self.communication).__name__}"
        return ("replicas" if self._replicas else "torch DistributedDataParallel") + name

    @classmethod
    def shares(cls, settings: Mapping[str, Any]) -> Shares:
        ranks = int(settings["num_processes"])
        return Shares(samples=ranks, gradient_copies=1 if ranks > 1 else 0)

    def prepare(self, model: nn.Module) -> nn.Module:
        if self._replicas is not None:
            wrapped = model.to(self.device)
        else:
            if self.world_size > 1:
                synchronise(model)
            wrapped = self.accelerator.prepare_model(model)
        self.communication.start(wrapped, self.world_size)
        return wrapped

    def unwrap(self, model: nn.Module) -> nn.Module:
        """Accelerate's own would import DeepSpeed, where that is installed, to see that it is not one of its engines."""
        inner: nn.Module = model.module if isinstance(model, DistributedDataParallel) else model
        return inner

    def replicas(self, model: nn.Module) -> list[Group]:
        if self._replicas is not None:  # which are to differ until they meet
            return []
        return [(None, dict(self.unwrap(model).named_parameters()))]

    def judged(self, model: nn.Module) -> nn.Module:
        if self._replicas is None:
            return self.unwrap(model)
        copied = with_weights(model, {})
        ours = zip(self._replicas.shared, self._replicas.mean(), strict=True)
        state = model.state_dict(keep_vars=True)
        means = {tensor.data_ptr(): mean for tensor, mean in ours}
        copied.load_state_dict({name: means.get(tensor.data_ptr(), tensor.detach()) for name, tensor in state.items()})
        return copied

    def finish(self, model: nn.Module) -> None:
        if self._replicas is not None:
            model.load_state_dict(self.judged(model).state_dict())
            self._replicas = None

    def accumulating(self, model: nn.Module) -> contextlib.AbstractContextManager[object]:
        if self.world_size == 1 or self._replicas is not None:
            return super().accumulating(model)
        context: contextlib.AbstractContextManager[object] = model.no_sync()  # type: ignore[operator]  # DDP's
        return context

    def whole(self, weight: Any) -> Any:
        return super().whole(weight) if self._replicas is None else weight * self.num_data_ranks

    def of_this_rank(self, weight: float) -> Any:
        return super().of_this_rank(weight) if self._replicas is None else weight

    def begin(self, run: Run) -> None:
        if self._store is not None:
            self._store.begin(self.rank, self.timeout_s)

    def step(self, run: Run) -> None:
        super().step(run)
        self._stepped(run)

    def skip(self, run: Run) -> None:
        super().skip(run)
        self._stepped(run)

    def _stepped(self, run: Run) -> None:
        self._met = self.communication.after_step(run.progress.step + 1)
        if self._store is not None and self._met:
            told = self._store.exchange_now(self._word(run))
            if told == Told.LEAVE:
                run.interrupt.signal = run.interrupt.signal or signal.SIGTERM
            elif told == Told.OVER:
                run.stop = run.stop or "over"

    def _word(self, run: Run) -> Told:
        """What this rank has to say to those that do not wait for it: that it was told to leave, or that all is over."""
        if run.interrupt.signal is not None:
            return Told.LEAVE
        return Told.OVER if self.is_main and run.stop is not None else Told.GO_ON

    def bring_in(self, run: Run) -> None:
        if self._store is not None:
            self._store.end(self._word(run), self.timeout_s)

    def agree(self, flag: bool) -> bool:
        """Replicas agree when they meet: nobody is waited for in between."""
        self._asked = self._asked or flag
        return super().agree(self._asked) if self._met else False

    def rank_state(self, run: Run) -> dict[str, Any]:
        state: dict[str, Any] = {"communication": self.communication.state_dict()}
        if self._replicas is not None and not self.apart:
            own: dict[str, Tensor] = self.unwrap(run.main.model).state_dict()
            state |= {"model": own, "optimizer": run.main.optimizer.state_dict()}
        return state

    def load_rank_state(self, run: Run, state: dict[str, Any]) -> None:
        if "model" in state and self._replicas is not None:
            run.main.model.load_state_dict(state["model"])
            run.main.optimizer.load_state_dict(state["optimizer"])
        if state.get("communication"):
            self.communication.load_state_dict(state["communication"])
