"""What the launcher asks of other libraries by private names."""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import pytest

from launcher.adapters import accelerate, codecarbon, datasets, sklearn
from launcher.adapters import argparse as adapter


def test_the_flags_of_a_parser(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", "-V", action="version", version="theirs")
    adapter.set_version(parser, "ours")
    assert adapter.flags_of(parser) == ["-h", "--help", "--version", "-V"]
    with pytest.raises(SystemExit):
        parser.parse_args(["-V"])
    assert capsys.readouterr().out == "ours\n"


def test_the_constraints_of_an_estimator() -> None:
    from sklearn.svm import SVC

    assert sklearn.constraints_of(SVC)["degree"][0].type.__name__ == "Integral"
    assert sklearn.constraints_of(object) == {}


def test_the_state_of_accelerate() -> None:
    from accelerate import PartialState

    accelerate.ensure_state()
    assert PartialState().initialized


def test_the_fingerprint_of_a_dataset() -> None:
    from datasets import Dataset

    one, other = Dataset.from_dict({"text": ["a"]}), Dataset.from_dict({"text": ["b"]})
    assert datasets.fingerprint(one) == datasets.fingerprint(Dataset.from_dict({"text": ["a"]}))
    assert datasets.fingerprint(one) != datasets.fingerprint(other)


def test_what_codecarbon_has_measured() -> None:
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code="USA", output_methods=[], measure_power_secs=1, log_level="critical", allow_multiple_runs=True
    )
    assert not codecarbon.has_begun(tracker)
    tracker.start()
    assert codecarbon.has_begun(tracker)
    deadline = time.monotonic() + 60
    while codecarbon.measured(tracker)[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    energy, emissions = codecarbon.measured(tracker)
    assert emissions > 0
    assert energy > 0
    assert codecarbon.covered(tracker) >= 0
    assert codecarbon.power(tracker) > 0
    assert len(codecarbon.modes(tracker)) > 0
    tracker.stop()


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("deepspeed.utils.mixed_precision_linkage", ["._hp_mapping ="]),
        ("submitit.slurm.slurm", ["def _make_submission_file_text(self, command: str, uid: str)", "def _submitit_command_str("]),
        ("clearml.backend_interface.metrics.reporter", ["def _report(self, ev"]),
        ("clearml.backend_interface.metrics.events", ["class ScalarEvent("]),
        ("clearml.backend_interface.task.task", ["def _reporter("]),
    ],
)  # fmt: skip
def test_where_the_names_of_services_are(module: str, words: list[str]) -> None:
    """Read, not imported: to import these takes seconds, and what they do is tested where it is used."""
    root, _, rest = module.partition(".")
    package = importlib.util.find_spec(root)
    assert package is not None
    assert package.submodule_search_locations is not None
    text = Path(package.submodule_search_locations[0], *rest.split(".")).with_suffix(".py").read_text()
    assert [word for word in words if word not in text] == []
