"""Models that others trained, through the Auto classes of `transformers`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from launcher.config.trust import factory
from launcher.errors import ConfigError, beginning, did_you_mean

from ..offline import hub_error, local_folder, prepare_hub

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HEADS = {"sequence_classification": "AutoModelForSequenceClassification", "causal_lm": "AutoModelForCausalLM"}
"""The Auto class for the head that a task asks for."""


@factory("model")
def pretrained(
    head: str,
    path: str,
    classes: Sequence[str] | None = None,
    pad_token_id: int | None = None,
    revision: str | None = None,
) -> PreTrainedModel:
    """A model with the weights at `path`, in single precision and training mode.

    `head` is one of `HEADS`. A classifier gets an output per entry of `classes`; where the weights bring a head
    of another size, it starts fresh. Weights are read from safetensors alone and no code of the repository is run.

    Raises ConfigError where there is no such model, it is of another kind, or its weights are in another format.
    """
    import torch
    import transformers

    if head not in HEADS:
        raise ConfigError(f"model=hub: no head named {head!r}.{did_you_mean(head, HEADS)}")
    auto: Any = getattr(transformers, HEADS[head])
    options: dict[str, Any] = {}
    if classes is not None:
        options = {
            "id2label": dict(enumerate(classes)),
            "label2id": {name: index for index, name in enumerate(classes)},
            "ignore_mismatched_sizes": True,
        }
    model: PreTrainedModel = _load(auto, path, revision, dtype=torch.float32, use_safetensors=True, **options)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = pad_token_id
    model.train()
    return model


def blank(
    head: str,
    path: str,
    classes: Sequence[str] | None = None,
    pad_token_id: int | None = None,
    revision: str | None = None,
) -> PreTrainedModel:
    """The model at `path` with fresh weights, of which only the shapes matter; takes and raises what `pretrained` does."""
    import transformers

    if head not in HEADS:
        raise ConfigError(f"model=hub: no head named {head!r}.{did_you_mean(head, HEADS)}")
    auto: Any = getattr(transformers, HEADS[head])
    config = _load(transformers.AutoConfig, path, revision)
    if classes is not None:
        config.id2label = dict(enumerate(classes))
    model: PreTrainedModel = auto.from_config(config, trust_remote_code=False)
    model.train()
    return model


def load_tokenizer(path: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer at `path`; one without a padding token pads with its end-of-text token. Raises ConfigError."""
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = _load(AutoTokenizer, path, revision)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ConfigError(f"model.path={path}: its tokenizer has neither a padding nor an end-of-text token")
    return tokenizer


def _load(auto: Any, path: str, revision: str | None, **options: Any) -> Any:
    folder = local_folder("model.path", path)
    reachable = folder is not None or prepare_hub()
    try:
        with _quiet():
            return auto.from_pretrained(
                folder or path,
                revision=revision or "main",
                local_files_only=folder is not None,
                trust_remote_code=False,  # left out, it would ask at the terminal, and take what is piped in for a yes
                **options,
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        if folder is None:
            raise hub_error("model.path", path, error, reachable) from error
        raise ConfigError(f"model.path={path}: {auto.__name__} can not read it: {beginning(error)}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep `transformers` from drawing bars and reporting every weight that starts fresh."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


pretrained.packages = {"transformers": "transformers"}  # type: ignore[attr-defined]
pretrained.blank = blank  # type: ignore[attr-defined]  # for what is asked of a model before its weights are loaded
pretrained.load_tokenizer = load_tokenizer  # type: ignore[attr-defined]  # how a task learns that the model brings its own
pretrained.offers = frozenset({"blocks", "tensor_plan"})  # type: ignore[attr-defined]
