"""Causal language modelling: the next token, from all before it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from launcher.core.task import Task
from launcher.data.samples import Batch, Datasets
from launcher.errors import ConfigError, did_you_mean
from launcher.functional.baselines import Baselines, of_tokens

from .base import keywords_of, split_rows, target_of
from .data.kinds import Corpus, Documents
from .data.packing import PackedSamples, cached, key, write_stream
from .stages import in_stages
from .vocabulary import Pretrained, Trained, Vocabulary, byte_vocabulary, load, train_bpe

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

    from launcher.core.loss import Loss

TOKENIZERS = ("bytes", "bpe")
CHUNK = 256  # documents read and encoded at a time
COUNTED = 4_000_000  # tokens that say how common each is


class PretrainCLM(Task):
    """Learns to continue text: the cross-entropy of each token given those before it (Radford et al., 2018).

    Documents are split into training and validation before anything else. Each side is one stream of tokens, an
    end token after each document, cut into windows of `sequence_length`; a window may span documents.
    `tokenizer` is `bytes` (256 values and the end token) or `bpe` (a byte-level BPE of `vocab_size` entries, learned
    from the training documents alone). A model from the hub brings its own.

    Perplexity is exp(loss). `bits_per_byte` is what is left to compare models of different vocabularies by: the loss
    of the held-out text in bits, over its length in bytes.
    """

    kinds: ClassVar[tuple[str, ...]] = ("corpus",)
    provides: ClassVar[tuple[str, ...]] = ("head", "vocab_size", "max_length", "eos_token_id", "pad_token_id")
    metric_names: ClassVar[tuple[str, ...]] = ("loss", "perplexity", "bits_per_byte")
    low_is_good: ClassVar[tuple[str, ...]] = ("loss", "perplexity", "bits_per_byte")
    offers: ClassVar[frozenset[str]] = frozenset({"logits"})
    packages: ClassVar[dict[str, str]] = {"tokenizers": "tokenizers"}

    def __init__(
        self,
        data: Any,
        model: Any,
        validation: Any,
        seed: int = 0,
        tokenizer: str = "bytes",
        vocab_size: int = 4096,
        sequence_length: int = 128,
    ) -> None:
        super().__init__(data, model, validation, seed)
        if tokenizer not in TOKENIZERS:
            raise ConfigError(
                f"task.tokenizer={tokenizer}: expected bytes or bpe.{did_you_mean(tokenizer, TOKENIZERS)}"
            )
        if sequence_length < 1:
            raise ConfigError(f"task.sequence_length={sequence_length}: expected a positive number of tokens")
        self.tokenizer, self.vocab_size, self.sequence_length = tokenizer, vocab_size, sequence_length

    def datasets(self) -> Datasets:
        corpus: Corpus = self.data.corpus()
        documents = corpus.documents
        train, val = split_rows(self.validation, len(documents))
        rows = hashlib.blake2b(train.tobytes() + b"|" + val.tobytes(), digest_size=16).hexdigest()
        sides = {"train": train} | ({"val": val} if len(val) else {})
        name = key(corpus=corpus.fingerprint, rows=rows, vocabulary=self._vocabulary_key())

        def build(folder: Path) -> None:
            vocabulary = self._make_vocabulary(documents, train)
            if isinstance(vocabulary, Trained):
                vocabulary.tokenizer.save(str(folder / "tokenizer.json"))
            dtype = "uint16" if vocabulary.size <= 1 << 16 else "uint32"
            for side, part in sides.items():
                write_stream(
                    folder / f"{side}.bin", self._encoded(vocabulary, documents, part), vocabulary.end_id, dtype
                )
            num_bytes = sum(len(text.encode("utf-8", "replace")) for text in _read(documents, val))
            (folder / "meta.json").write_text(json.dumps({"dtype": dtype, "val_bytes": num_bytes}), encoding="utf-8")

        folder = cached("packed", name, build)
        own = folder / "tokenizer.json"
        self.vocabulary: Vocabulary = load(own) if own.is_file() else self._make_vocabulary(documents, train)
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        samples = {side: PackedSamples(folder / f"{side}.bin", meta["dtype"], self.sequence_length) for side in sides}
        num_tokens = {side: each.num_tokens for side, each in samples.items()}
        self.tokens_per_byte = num_tokens.get("val", 0) / max(1, meta["val_bytes"])
        facts = {
            "vocab_size": self.vocabulary.size,
            "sequence_length": self.sequence_length,
            "train_tokens": num_tokens["train"],
            "val_tokens": num_tokens.get("val", 0),
        }
        return Datasets(train=samples["train"], val=samples.get("val"), facts=facts)

    @cached_property
    def _brought(self) -> Pretrained | None:
        """The tokenizer that the model brings, if it does."""
        load_tokenizer = getattr(target_of(self.model_factory), "load_tokenizer", None)
        if load_tokenizer is None:
            return None
        given = keywords_of(self.model_factory)
        return Pretrained(load_tokenizer(given["path"], given.get("revision")))

    def _vocabulary_key(self) -> list[Any]:
        if self._brought is not None:
            return ["hub", self._brought.fingerprint()]
        if self.tokenizer == "bytes":
            return ["bytes"]
        import tokenizers

        return ["bpe", self.vocab_size, tokenizers.__version__]

    def _make_vocabulary(self, documents: Documents, train: np.ndarray) -> Vocabulary:
        if self._brought is not None:
            return self._brought
        return byte_vocabulary() if self.tokenizer == "bytes" else train_bpe(_read(documents, train), self.vocab_size)

    def _encoded(
        self, vocabulary: Vocabulary, documents: Documents, rows: np.ndarray
    ) -> Iterator[list[int] | np.ndarray]:
        if self._brought is None and self.tokenizer == "bytes":  # the same numbers, without the library's detour
            for text in _read(documents, rows):
                yield np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
            return
        for start in range(0, len(rows), CHUNK):
            yield from vocabulary.encode(documents.read(rows[start : start + CHUNK]))

    def model(self) -> nn.Module:
        model: nn.Module = self.model_factory(
            head="causal_lm",
            vocab_size=self.vocabulary.size,
            max_length=self.sequence_length,
            eos_token_id=self.vocabulary.end_id,
            pad_token_id=self.vocabulary.pad_id,
        )
        return model

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        output = model(input_ids=batch["input_ids"], use_cache=False)
        return output.logits

    def stages(self, model: nn.Module, num: int | None) -> list[nn.Module]:
        if type(model).__name__ != "LlamaForCausalLM":
            raise ConfigError(f"{type(model).__name__} does not say where it can be cut into stages; model=llama does")
        from .models.llama import pieces

        return in_stages(model, num, "input_ids", pieces(model))  # type: ignore[arg-type]  # looked at by name

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        from launcher.core.loss import Loss

        labels = batch["labels"]
        return Loss(F.cross_entropy(output.flatten(0, 1).float(), labels.flatten(), reduction="sum"), labels.numel())

    def metrics(self) -> MetricCollection:
        from torchmetrics import MetricCollection

        return MetricCollection({})

    def update(self, metrics: MetricCollection, output: Any, batch: Batch) -> None:
        """Everything follows from the loss."""

    def derived(self, metrics: dict[str, float]) -> dict[str, float]:
        loss = metrics["loss"]
        return {
            "perplexity": math.exp(loss) if loss < 700 else math.inf,
            "bits_per_byte": loss / math.log(2) * self.tokens_per_byte,
        }

    def baselines(self, data: Datasets, columns: dict[str, np.ndarray]) -> Baselines:
        """A unigram model: how common each token is in the training text, and nothing of what stands before it."""
        train, val = data.train, data.val
        if not isinstance(train, PackedSamples) or not isinstance(val, PackedSamples):
            return {}
        loss = of_tokens(train.tokens(COUNTED), val.tokens(COUNTED), self.vocabulary.size)
        said = "knowing only how common each token is"
        return {"loss": (loss, said)} | {name: (value, said) for name, value in self.derived({"loss": loss}).items()}

    @torch.no_grad()
    def continued(self, model: nn.Module, batch: Batch, num_tokens: int) -> list[tuple[str, str]]:
        given = batch["input_ids"][:, : max(1, self.sequence_length // 2)].to(next(model.parameters()).device)
        training = model.training
        model.eval()
        ids = given
        for _ in range(num_tokens):
            best = self.forward(model, {"input_ids": ids[:, -self.sequence_length :]})[:, -1].argmax(-1)
            ids = torch.cat([ids, best[:, None]], dim=1)
        model.train(training)
        texts = zip(given.tolist(), ids[:, given.shape[1] :].tolist(), strict=True)
        return [(self.vocabulary.decode(before), self.vocabulary.decode(after)) for before, after in texts]

    def tokens(self, batch: Batch) -> int | None:
        return batch["labels"].numel()

    def export(self, model: Any, folder: Path) -> None:
        from launcher.artifacts.export import save_module

        save_module(model, folder, facts={"sequence_length": self.sequence_length}, save_tokenizer=self.vocabulary.save)


def _read(documents: Documents, rows: np.ndarray) -> Iterator[str]:
    """The documents at `rows`, a chunk in memory at a time."""
    for start in range(0, len(rows), CHUNK):
        yield from documents.read(rows[start : start + CHUNK])
