"""torchmetrics without what its plots and texts need: quick to import, and all of it works as ever."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.harness import environment

CODE = """
import sys
import launcher.train.torchmetrics_import
absent = ("matplotlib", "transformers", "scipy.signal")
print([name for name in absent if name in sys.modules])

import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
from torchmetrics.functional.text import bert

for metric in (MulticlassAccuracy(3), MulticlassConfusionMatrix(3)):
    metric.update(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]))
    metric.compute()
    figure, axes = metric.plot()
    print(type(figure).__module__, figure is axes.get_figure())

import transformers
print(bert.AutoModel.from_pretrained.__self__ is transformers.AutoModel)
from torchmetrics.utilities.plot import _AX_TYPE
print(isinstance(axes.flat[0] if hasattr(axes, "flat") else axes, _AX_TYPE), isinstance(figure, _AX_TYPE))
import scipy.signal
print(scipy.signal.windows.hamming(3).shape)
"""


def test_what_torchmetrics_does_not_need_yet_is_imported_when_it_does() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env={"MPLBACKEND": "Agg", "PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[]",
        "matplotlib.figure True",
        "matplotlib.figure True",
        "True",
        "True False",
        "(3,)",
    ]


@pytest.mark.parametrize("before", ["import matplotlib", "import transformers"])
def test_whatever_is_there_already_is_left_as_it_is(before: str) -> None:
    """A package that somebody has imported in part is not stood in for."""
    code = f"{before}\nimport launcher.train.torchmetrics_import\nfrom torchmetrics.classification import MulticlassAccuracy\nprint(MulticlassAccuracy(3))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "MulticlassAccuracy()"


def test_a_version_that_can_not_be_imported_so_is_imported_plainly() -> None:
    code = """
import launcher.train.torchmetrics_import as metrics, sys
for name in [each for each in sys.modules if each.partition(".")[0] == "torchmetrics"]:
    del sys.modules[name]
metrics._Later.loading = True
metrics._Name.__call__ = lambda self, *args: 1 / 0  # what the version would want
metrics._import()
import torchmetrics
print("matplotlib" in sys.modules, torchmetrics.MeanSquaredError())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stdout.strip()) == (0, "True MeanSquaredError()"), done.stderr
