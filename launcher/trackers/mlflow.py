"""MLflow: a tracking server, or a database on the disk."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from launcher.artifacts.folder import group_of
from launcher.config.flatten import flat
from launcher.errors import ConfigError

from .base import Tracker, best_of
from .clock import Clock
from .run_ids import held, read_id, write_id
from .settings import chosen, run_id

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import Metric

METRICS, PARAMS, LONGEST = 1000, 100, 500
"""What one request may hold, and the characters of a parameter that older servers take."""
USER, PARENT = "mlflow.user", "mlflow.parentRunId"
SOURCE = {"mlflow.source.name": "launcher", "mlflow.source.type": "LOCAL"}
"""MLflow's own tags, which fill the columns of its table; with `mlflow.source.git.commit` these are all that it has."""
STATUS = {"failed": "FAILED", "pruned": "KILLED", "preempted": "KILLED"}
"""MLflow's own words for how a run ended; every other end is FINISHED. The tag `status` has ours."""


class MLflow(Tracker):
    """Values by their names in metrics.jsonl over the optimizer's steps; the config flat as parameters, and whole as a file.

    By MLflow's client and not by Accelerate's tracker, which sends a request for every line and keeps the run in a global
    of the process: here a second's lines are one request. `tracking_uri` is that of a server or of a database
    (`sqlite:///runs.db`); without one MLFLOW_TRACKING_URI says, else it is mlflow.db in the current folder. A login comes
    from MLflow's own environment variables. A server that does not answer is asked again until the run ends.

    A resume goes on in the same run. MLflow can not forget a value, so that the steps that it has are passed over.
    """

    name = "mlflow"
    packages: ClassVar[dict[str, str]] = {"mlflow": "mlflow-skinny", "sqlalchemy": "sqlalchemy"}
    extra = "mlflow"

    _client: MlflowClient

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        artifacts: Sequence[str] = ("config", "result", "provenance", "report", "model"),
    ) -> None:
        super().__init__()
        self.tracking_uri, self.experiment, self.artifacts = tracking_uri, experiment, tuple(artifacts)
        _refuse_login(tracking_uri)
        self._waiting: list[Metric] = []
        self._held: dict[str, set[int]] | None = None  # of a resumed run: the steps that it has, by metric
        self._id: str | None = None
        self._parent: str | None = None
        self._at: float | None = None  # when the last line was logged

    def start(
        self, config: dict[str, Any], facts: dict[str, Any], name: str, folder: Path, resume_step: int | None
    ) -> None:
        # The lane tries again by itself: one request that nobody answers should not take minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        import mlflow
        from mlflow import MlflowClient
        from mlflow.entities import Param, RunTag

        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}"
        mlflow.set_tracking_uri(uri)  # what fetches and stores artifacts asks for it
        self._client = MlflowClient(uri)
        began = int(Clock(folder).began * 1000)
        tags = self._tags(config, facts)
        self._id = run_id(folder, self.name, "MLFLOW_RUN_ID", facts.get("group"))
        if facts.get("group"):
            self._parent = tags[PARENT] = self._parent_of(folder.absolute(), began)
        if self._id is None:
            created = self._client.create_run(self._experiment(), start_time=began, run_name=name, tags=tags)
            self._id = created.info.run_id
            write_id(folder, self.name, self._id)
        else:
            write_id(folder, self.name, self._id)
            self._held = {}
            self._client.update_run(self._id, status="RUNNING")
            self._client.log_batch(self._id, tags=[RunTag(key, value) for key, value in tags.items()])
        known = self._client.get_run(self._id).data.params
        # A parameter is written once and for all: what a resume has changed stands in the config, and in its file.
        params = [Param(key, _text(value)) for key, value in flat(config) if key not in known]
        for begin in range(0, len(params), PARAMS):
            self._client.log_batch(self._id, params=params[begin : begin + PARAMS])
        self._client.log_dict(self._id, json.loads(json.dumps(facts, default=str)), "run.json")

    def _experiment(self) -> str:
        """The id of the experiment, which is made where there is none; runs that begin together may all find none."""
        from mlflow.exceptions import MlflowException

        if self.experiment is None and os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return os.environ["MLFLOW_EXPERIMENT_ID"]
        name = str(chosen(self.experiment, "MLFLOW_EXPERIMENT_NAME", "launcher"))
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:
                found = self._client.get_experiment_by_name(name)  # another run has just made it
                if found is None:
                    raise
        return str(found.experiment_id)

    def _parent_of(self, folder: Path, began: int) -> str:
        """The id of the run that stands for the sweep, or for the run of several fits, that a folder is part of. The first
        of its parts makes it, each sets its end."""
        from mlflow.exceptions import MlflowException

        whole = folder.parent
        with held(whole, self.name):
            known = read_id(whole, self.name)
            if known is not None:
                try:
                    self._client.update_run(known, status="RUNNING")
                    return known
                except MlflowException as error:
                    if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # as it does not on another server
                        raise
            tags = SOURCE | {USER: _user()}
            if group_of(whole) is not None:
                tags[PARENT] = self._parent_of(whole, began)
            made = self._client.create_run(self._experiment(), start_time=began, run_name=whole.name, tags=tags)
            write_id(whole, self.name, made.info.run_id)
            return str(made.info.run_id)

    @staticmethod
    def _tags(config: dict[str, Any], facts: dict[str, Any]) -> dict[str, str]:
        tags = {f"tag.{tag}": "true" for tag in config.get("tags") or []}
        tags |= SOURCE | {"status": "running", USER: _user()}
        origin = facts.get("provenance") or {}
        if origin.get("command"):
            tags["command"] = str(origin["command"])
        if (origin.get("git") or {}).get("commit"):
            tags["mlflow.source.git.commit"] = origin["git"]["commit"]
        if config.get("notes"):
            tags["mlflow.note.content"] = str(config["notes"])
        if facts.get("group"):
            tags["group"] = str(facts["group"])
        return tags

    def log(self, values: dict[str, float], step: int, at: float) -> None:
        from mlflow.entities import Metric

        self._at = at
        for name, value in values.items():
            if self._held is not None and step in self._steps(name):
                continue
            self._waiting.append(Metric(name, value, int(at * 1000), step))

    def _steps(self, name: str) -> set[int]:
        """The steps of a metric that the run had when it was resumed."""
        assert self._held is not None
        assert self._id is not None
        if name not in self._held:
            self._held[name] = {metric.step for metric in self._client.get_metric_history(self._id, name)}
        return self._held[name]

    def flush(self) -> None:
        assert self._id is not None
        while self._waiting:
            self._client.log_batch(self._id, metrics=self._waiting[:METRICS])
            del self._waiting[:METRICS]

    def image(self, name: str, pixels: np.ndarray, step: int) -> None:
        assert self._id is not None
        self._client.log_image(self._id, pixels, f"images/{name}-{step}.png")

    def table(self, name: str, columns: list[str], rows: list[list[Any]], step: int) -> None:
        assert self._id is not None
        self._client.log_dict(self._id, {"columns": columns, "data": rows}, f"tables/{name}-{step}.json")

    def artifact(self, name: str, path: Path) -> None:
        assert self._id is not None
        if name not in self.artifacts:
            return
        if path.is_dir():
            self._client.log_artifacts(self._id, str(path), name)
        else:
            self._client.log_artifact(self._id, str(path))

    def transient(self, error: Exception) -> bool:
        from mlflow.exceptions import MlflowException

        chain: BaseException | None = error
        while chain is not None:
            if isinstance(chain, ConnectionError | TimeoutError) or type(chain).__module__.startswith("requests."):
                return True
            chain = chain.__cause__ or chain.__context__
        return isinstance(error, MlflowException) and error.get_http_status_code() in (429, 502, 503, 504)

    def close(self, result: dict[str, Any], step: int) -> None:
        assert self._id is not None
        status, at = str(result.get("status")), self._at or time.time()
        self.log(best_of(result), step, at)
        self.flush()
        self._client.set_tag(self._id, "status", status)
        self._client.set_tag(self._id, "reason", _text(result.get("reason")))
        self._client.set_terminated(self._id, STATUS.get(status, "FINISHED"), end_time=int(at * 1000))
        if self._parent is not None:
            self._client.set_terminated(self._parent, end_time=int(at * 1000))


def _user() -> str:
    """Who runs it; where the system has no name for them, their number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _refuse_login(uri: str | None) -> None:
    """Raises ConfigError where a config would have the environment's login sent to another server than it is for."""
    own = os.environ.get("MLFLOW_TRACKING_URI")
    login = [name for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD") if os.environ.get(name)]
    if (
        uri
        and own
        and login
        and "://" in uri
        and uri.startswith("http")
        and urlsplit(uri).netloc != urlsplit(own).netloc
    ):
        raise ConfigError(
            f"tracker.mlflow.tracking_uri={uri}: {login[0]} belongs to the server of MLFLOW_TRACKING_URI, which is another "
            "one; unset one of the two"
        )


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
