"""Evidence of a trained model: what it predicts, where it is wrong, what it attends to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.functional.images import data_uri, shaded

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from launcher.artifacts.recent_predictions import Seen
    from launcher.core.task import Task
    from launcher.data.samples import Datasets, Samples
from launcher.artifacts.evidence import darkness

LIMIT = 10_000
"""Samples that are looked at: more say nothing more, and cost as much as an evaluation."""


WORST, CLASSES = 12, 40
"""Samples with the highest loss that are shown, and classes up to which the confusion is counted."""


PROMPTS, NEW_TOKENS = 3, 120


QUANTITIES = 300
"""Quantities that are shown beside their predictions."""


TOKENS, LAYERS = 96, 12
"""Tokens and layers up to which attention is shown."""


def gather(task: Task, data: Datasets, model: nn.Module, columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """The content of evidence.json of a network, from the columns of `Task.predictions`, of the first samples of `data.val`."""
    assert data.val is not None
    further = {"texts": _texts(task, data.val, model), "attention": _attention(task, data.val, model)}
    return predicted(task, data, columns) | {name: value for name, value in further.items() if value}


def gather_seen(task: Task, data: Datasets, seen: Seen | None) -> dict[str, Any]:
    """The part of evidence.json that follows from what an evaluation has predicted, with its `step`."""
    columns, places = ({}, None) if seen is None else seen.columns()
    return predicted(task, data, columns, places) | {"step": seen.step} if seen is not None and columns else {}


def predicted(
    task: Task, data: Datasets, columns: dict[str, np.ndarray], places: np.ndarray | None = None, shows: bool = True
) -> dict[str, Any]:
    """Classes or quantities beside their predictions. `places` are the samples' among the held-out ones, where they are
    not the first; without `shows` none has its picture or text: an estimator's rows have neither."""
    import torch

    assert data.val is not None
    classes = data.facts.get("classes")
    found: dict[str, Any] = {}
    if columns and classes and "probabilities" in columns:
        found = classified(columns, classes)
        for entry in found["worst"]:
            entry["sample"] = int(entry["sample"] if places is None else places[entry["sample"]])
        worst = torch.tensor([entry["sample"] for entry in found["worst"]])
        for entry, shown in zip(found["worst"], task.shown(data.val.fetch(worst)) if shows else (), strict=False):
            entry |= {"text": shown} if isinstance(shown, str) else {"picture": data_uri(shown)}
        if data.val_rows is not None:
            for entry in found["worst"]:
                entry["row"] = int(data.val_rows[entry["sample"]])
    elif columns and "probabilities" not in columns and columns["label"].dtype.kind == "f":
        gaps = places is not None and len(places) <= int(places.max(initial=-1))  # of the other ranks' samples
        found = {"samples": len(columns["label"]), "quantities": _quantities(columns, task.ordered and not gaps)}
    baselines = {metric: list(each) for metric, each in task.baselines(data, columns).items()}
    return found | ({"baselines": baselines} if baselines else {})


def _quantities(columns: dict[str, np.ndarray], ordered: bool) -> dict[str, Any]:
    """The last ones of a series, else some that are spread evenly."""
    import numpy as np

    num = len(columns["label"])
    first = max(0, num - QUANTITIES)
    rows = (
        np.arange(first, num)
        if ordered
        else np.unique(np.linspace(0, num - 1, min(num, QUANTITIES)).round().astype(int))
    )
    both = {name: [float(value) for value in columns[name][rows]] for name in ("label", "prediction")}
    return both | ({"ordered": True, "first": first} if ordered else {})


def classified(columns: dict[str, np.ndarray], classes: list[str]) -> dict[str, Any]:
    """Confusion, calibration and the worst samples. `label` and `prediction` are [samples], `probabilities` [samples, classes]."""
    import numpy as np

    from launcher.functional.calibration import NUM_BINS

    label, prediction = columns["label"].astype(np.int64), columns["prediction"].astype(np.int64)
    probabilities = columns["probabilities"].astype(np.float64)
    num, rows = len(classes), np.arange(len(label))
    found: dict[str, Any] = {"samples": len(label), "classes": [str(name) for name in classes]}
    if num <= CLASSES:
        found["confusion"] = np.bincount(label * num + prediction, minlength=num * num).reshape(num, num).tolist()
    confidence, right = probabilities.max(axis=1), prediction == label
    bins = np.clip(np.searchsorted(np.linspace(0, 1, NUM_BINS + 1), confidence, side="right") - 1, 0, NUM_BINS - 1)
    found["calibration"] = [
        [float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum())]
        for inside in (bins == each for each in range(NUM_BINS))
        if inside.any()
    ]
    given = probabilities[rows, label]
    order = np.argsort(given, kind="stable")[:WORST]
    found["worst"] = [
        {
            "sample": int(each),
            "label": found["classes"][label[each]],
            "prediction": found["classes"][prediction[each]],
            "p_label": float(given[each]),
            "p_prediction": float(probabilities[each, prediction[each]]),
        }
        for each in order
    ]
    return found


def _texts(task: Task, samples: Samples, model: nn.Module) -> list[dict[str, str]]:
    import torch

    batch = samples.fetch(torch.arange(min(PROMPTS, len(samples))))
    return [{"given": given, "made": made} for given, made in task.continued(model, batch, NEW_TOKENS)]


def _attention(task: Task, samples: Samples, model: nn.Module) -> list[str]:
    """A picture a layer, white where a token is not looked at. A weight's darkness is its logarithm below the largest of its
    row, down to the layer's small ones: in proportion, one token that all look at would leave the others blank."""
    import torch

    from launcher.data.samples import moved
    from launcher.functional.attention import Attentions

    device = next((each.device for each in model.parameters()), torch.device("cpu"))
    batch = moved(samples.fetch(torch.arange(1)), device)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), Attentions() as seen:
            task.forward(model, batch)
    finally:
        model.train(training)
    layers = [layer[:TOKENS, :TOKENS].cpu() for layer in seen.layers[:LAYERS]]
    return [data_uri(shaded(darkness(layer), max(1, 96 // max(layer.shape)))) for layer in layers]
