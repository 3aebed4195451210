"""Text classification: one label a text."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from launcher.core.task import Task
from launcher.data.samples import COMPARED_ROWS, Batch, Datasets, Samples
from launcher.errors import ConfigError

from .base import class_predictions, classification_metrics, keywords_of, softmax_loss, split_rows, target_of
from .stages import in_stages
from .vocabulary import Pretrained, Vocabulary, train_bpe

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

    from launcher.core.loss import Loss


class TokenSamples(Samples):
    """Texts as token ids, one after another in memory, padded to the longest text of a batch, or of all where `evened`.

    A batch holds `input_ids` and `attention_mask` (int64, [batch, tokens]; the mask is 1 at real tokens) and
    `labels` (int64, [batch]). An empty text counts as one padding token, as attention needs something to look at.
    """

    def __init__(self, texts: list[list[int]], labels: np.ndarray, pad_id: int) -> None:
        filled = [ids or [pad_id] for ids in texts]
        self.lengths = torch.tensor([len(ids) for ids in filled])
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.ids = torch.tensor([token for ids in filled for token in ids], dtype=torch.int32)
        self.labels = torch.from_numpy(labels)
        self.pad_id = pad_id
        self.alike = False

    def evened(self) -> TokenSamples:
        even = copy.copy(self)
        even.alike = True
        return even

    def __len__(self) -> int:
        return len(self.lengths)

    def fingerprints(self) -> np.ndarray | None:
        if len(self) > COMPARED_ROWS:
            return None
        texts = np.split(self.ids.numpy(), self.starts.numpy()[1:])
        return np.array([hash(ids.tobytes()) for ids in texts], dtype=np.int64)

    def fetch(self, indices: Tensor) -> Batch:
        lengths = self.lengths[indices]
        place = torch.arange(int((self.lengths if self.alike else lengths).max()))
        real = place < lengths[:, None]
        where = (self.starts[indices][:, None] + place).clamp_(max=len(self.ids) - 1)
        ids = self.ids[where].long().masked_fill_(~real, self.pad_id)
        return {"input_ids": ids, "attention_mask": real.long(), "labels": self.labels[indices]}


class TextClassification(Task):
    """Learns the class of a text by cross-entropy.

    A model from the hub brings its own tokenizer. For the others a byte-level BPE of `vocab_size` entries is trained,
    on the training texts alone. Texts are cut to `max_length` tokens.
    """

    kinds: ClassVar[tuple[str, ...]] = ("texts",)
    provides: ClassVar[tuple[str, ...]] = ("head", "vocab_size", "max_length", "pad_token_id", "num_outputs", "classes")
    metric_names: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "f1", "ece")
    low_is_good: ClassVar[tuple[str, ...]] = ("loss", "ece")
    offers: ClassVar[frozenset[str]] = frozenset({"logits", "classes", "mixing"})
    packages: ClassVar[dict[str, str]] = {"tokenizers": "tokenizers"}

    def __init__(
        self, data: Any, model: Any, validation: Any, seed: int = 0, vocab_size: int = 2048, max_length: int = 128
    ) -> None:
        super().__init__(data, model, validation, seed)
        if max_length < 1:
            raise ConfigError(f"task.max_length={max_length}: expected a positive number of tokens")
        self.vocab_size = vocab_size
        self.max_length = max_length

    def datasets(self) -> Datasets:
        source = self.data.texts()
        train, val = split_rows(
            self.validation, len(source.labels), source.labels, source.groups, classes=source.classes
        )
        self.classes: list[str] = source.classes
        self.vocabulary = self._vocabulary([source.texts[row] for row in train.tolist()])

        def samples(rows: np.ndarray) -> TokenSamples:
            texts = self.vocabulary.encode([source.texts[row] for row in rows.tolist()], self.max_length)
            return TokenSamples(texts, source.labels[rows], self.vocabulary.pad_id)

        facts = {"classes": self.classes, "vocab_size": self.vocabulary.size, "max_length": self.max_length}
        held_out = samples(val) if len(val) else None
        return Datasets(train=samples(train), val=held_out, facts=facts, train_rows=train, val_rows=val)

    def _vocabulary(self, texts: list[str]) -> Vocabulary:
        load = getattr(target_of(self.model_factory), "load_tokenizer", None)
        if load is None:
            return train_bpe(texts, self.vocab_size)
        given = keywords_of(self.model_factory)
        return Pretrained(load(given["path"], given.get("revision")))

    def model(self) -> nn.Module:
        model: nn.Module = self.model_factory(
            head="sequence_classification",
            vocab_size=self.vocabulary.size,
            max_length=self.max_length,
            pad_token_id=self.vocabulary.pad_id,
            num_outputs=len(self.classes),
            classes=self.classes,
        )
        return model

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return getattr(output, "logits", output)

    def loss(self, output: Tensor, batch: Batch) -> Loss:
        return softmax_loss(output, batch["labels"])

    def predictions(self, output: Tensor, batch: Batch) -> dict[str, Tensor]:
        return class_predictions(output, batch["labels"])

    def shown(self, batch: Batch) -> list[np.ndarray | str]:
        both = zip(batch["input_ids"].tolist(), batch["attention_mask"].sum(1).tolist(), strict=True)
        return [self.vocabulary.decode(ids[:length]) for ids, length in both]

    def stages(self, model: nn.Module, num: int | None) -> list[nn.Module]:
        return in_stages(model, num, "input_ids")

    def num_classes(self) -> int:
        return len(self.classes)

    def mixed(self, model: nn.Module) -> str | nn.Module:
        embedding: nn.Module = model.get_input_embeddings()  # type: ignore[operator]  # as transformers names it
        return embedding

    def metrics(self) -> MetricCollection:
        return classification_metrics(len(self.classes))

    def export(self, model: Any, folder: Path) -> None:
        from launcher.artifacts.export import save_module

        save_module(
            model,
            folder,
            facts={"classes": self.classes, "max_length": self.max_length},
            save_tokenizer=self.vocabulary.save,
        )
