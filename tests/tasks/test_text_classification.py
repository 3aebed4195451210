"""Texts: the snippets, the vocabulary, padding, the encoder, and models that bring their own tokenizer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from launcher.artifacts.export import load_facts, load_module
from launcher.data.splits import Holdout
from launcher.errors import ConfigError
from launcher.tasks import vocabulary
from launcher.tasks.data.kinds import Texts
from launcher.tasks.data.stdlib import StdlibSnippets
from launcher.tasks.models.hub import load_tokenizer, pretrained
from launcher.tasks.models.transformer import Transformer
from launcher.tasks.text_classification import TextClassification, TokenSamples
from tests.tasks.conftest import evaluate, factory, train


class Made:
    """Texts of two classes that differ in one word."""

    kind = "texts"

    def __init__(self, num: int = 60) -> None:
        draw = np.random.default_rng(0)
        words = ["plum", "fig", "oak", "elm", "ash"]
        self.lines = [
            " ".join([("left", "right")[row % 2], *draw.choice(words, draw.integers(1, 9))]) for row in range(num)
        ]

    def texts(self) -> Texts:
        return Texts(self.lines, np.arange(len(self.lines)) % 2, ["left", "right"])


def task(data: Any = None, model: Any = None, **options: Any) -> Any:
    return TextClassification(data or Made(), model or factory(Transformer, width=32), Holdout(0.2, seed=0), **options)


def test_snippets_are_balanced_and_none_stands_twice() -> None:
    found = StdlibSnippets().texts()
    assert len(found.classes) >= 5
    assert len(set(Counter(found.labels.tolist()).values())) == 1
    assert len(set(found.texts)) == len(found.texts)
    assert all(len(text.splitlines()) == 8 for text in found.texts)
    again = StdlibSnippets().texts()
    assert again.texts == found.texts
    np.testing.assert_array_equal(again.labels, found.labels)


def test_no_file_is_on_both_sides() -> None:
    mine = task(StdlibSnippets(max_per_class=60, min_per_class=60))
    source = mine.data.texts()
    assert source.groups is not None
    data = mine.datasets()
    texts = {
        side: {mine.vocabulary.tokenizer.decode(ids) for ids in _ids(samples)}
        for side, samples in (("train", data.train), ("val", data.val))
    }
    assert not texts["train"] & texts["val"]
    from launcher.tasks.base import split_rows

    train_rows, val_rows = split_rows(mine.validation, len(source.labels), source.labels, source.groups)
    assert not set(source.groups[train_rows]) & set(source.groups[val_rows])
    assert len(train_rows) + len(val_rows) == len(source.texts)
    assert len(data.train) == len(train_rows)


def _ids(samples: TokenSamples) -> list[list[int]]:
    return [
        samples.ids[start : start + length].tolist()
        for start, length in zip(samples.starts, samples.lengths, strict=True)
    ]


def test_too_few_snippets_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"too few snippets"):
        StdlibSnippets(min_per_class=10**6, max_per_class=10**6).texts()


def test_learns_where_snippets_come_from() -> None:
    _, metrics = train(
        task(StdlibSnippets(), factory(Transformer, width=64, attention_dropout=0.0), max_length=64), 60, lr=3e-3
    )
    assert metrics["accuracy"] > 0.5  # one in seven by chance


def test_the_vocabulary_is_learned_from_the_training_texts_alone() -> None:
    """A word that only held-out texts have stays in pieces; the same word in training texts becomes one."""
    made = Made(100)
    mine = task(made, vocab_size=400)
    _, val = next(iter(mine.validation.split(np.zeros(100))))
    for row in val:
        made.lines[row] = "zyzzyva " * 9 + made.lines[row]
    mine.datasets()
    assert len(mine.vocabulary.encode(["zyzzyva"])[0]) > 4
    assert len(mine.vocabulary.encode([" plum"])[0]) == 1


def test_the_vocabulary_is_the_same_in_every_process() -> None:
    import subprocess
    import sys

    code = (
        "import hashlib; from launcher.tasks.data.stdlib import StdlibSnippets; from launcher.tasks.vocabulary import train_bpe; "
        "print(hashlib.sha256(train_bpe(StdlibSnippets().texts().texts, 1500).tokenizer.to_str().encode()).hexdigest())"
    )
    seen = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout
        for _ in range(2)
    }
    assert len(seen) == 1
    assert len(seen.pop().strip()) == 64


def test_batches_are_padded_to_their_longest_text() -> None:
    samples = TokenSamples([[5, 6, 7], [8], [], [9, 10]], np.array([0, 1, 0, 1]), pad_id=3)
    batch = samples.fetch(torch.tensor([3, 0]))
    assert batch["input_ids"].tolist() == [[9, 10, 3], [5, 6, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [1, 0]
    assert samples.fetch(torch.tensor([1, 2]))["input_ids"].tolist() == [[8], [3]]


def test_padding_does_not_change_the_output() -> None:
    torch.manual_seed(0)
    model = Transformer(50, 3, max_length=16, width=16, depth=2, num_heads=2).eval()
    short = torch.randint(50, (1, 5))
    alone = model(short, torch.ones(1, 5, dtype=torch.int64))
    padded = torch.cat([short, torch.full((1, 6), 7)], dim=1)
    mask = (torch.arange(11) < 5).long()[None]
    torch.testing.assert_close(model(padded, mask), alone)
    moved = torch.cat([short.flip(1)], dim=1)
    assert not torch.allclose(model(moved, torch.ones(1, 5, dtype=torch.int64)), alone, atol=1e-4)  # order counts


def test_texts_are_cut_and_an_empty_one_does_no_harm() -> None:
    made = Made(20)
    made.lines[3] = ""
    made.lines[4] = "plum " * 500
    mine = task(made, max_length=12)
    data = mine.datasets()
    assert max(int(samples.lengths.max()) for samples in (data.train, data.val)) == 12
    model = mine.model()
    for samples in (data.train, data.val):
        assert torch.isfinite(mine.forward(model, samples.fetch(torch.arange(len(samples))))).all()


def test_a_text_that_spells_a_special_token_stays_text() -> None:
    trained = vocabulary.train_bpe(["some words"] * 3, 300)
    assert trained.end_id not in trained.encode([vocabulary.END])[0]
    assert trained.tokenizer.decode(trained.encode([vocabulary.END])[0]) == vocabulary.END


@pytest.mark.parametrize("text", ["def f(x):\n\treturn 'äß€'", "\x00\x7f\xa0\u200b 🙂", ""])
def test_every_text_can_be_written_and_read_back(text: str) -> None:
    for made in (vocabulary.train_bpe(["abc"], 260), vocabulary.byte_vocabulary()):
        (ids,) = made.encode([text])
        assert made.tokenizer.decode(ids) == text
    assert ids == list(text.encode())


def test_vocabulary_too_small() -> None:
    with pytest.raises(ConfigError, match=r"task.vocab_size=100: at least 258"):
        vocabulary.train_bpe(["a"], 100)


def test_export_and_back(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    mine = task()
    data = mine.datasets()
    model = mine.model().eval()
    mine.export(model, tmp_path)
    again = load_module(tmp_path)
    batch = data.val.fetch(torch.arange(6))
    assert torch.equal(mine.forward(again, batch), mine.forward(model, batch))
    assert load_facts(tmp_path) == {"classes": ["left", "right"], "max_length": 128}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    line = mine.data.lines[0]
    assert tokenizer(line)["input_ids"] == mine.vocabulary.encode([line])[0]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with weights of its own and a tokenizer that adds [CLS] and [SEP]."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "plum", "fig", "oak", "elm", "ash", "left", "right"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        num_labels=5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_model_from_a_folder_brings_its_tokenizer(bert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    mine = task(model=factory(pretrained, path=str(bert)), max_length=8)
    data = mine.datasets()
    first = data.train.fetch(torch.tensor([0]))["input_ids"][0].tolist()
    assert (first[0], first[-1]) == (2, 3)
    assert data.train.lengths.max() == 8  # cut with [SEP] kept
    model = mine.model()
    assert model.training
    assert model.config.id2label == {0: "left", 1: "right"}
    assert model.classifier.out_features == 2  # the saved head had five
    saved = load_file(bert / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(model.bert.embeddings.word_embeddings.weight.detach(), saved)

    trained, metrics = train(mine, 60, lr=1e-2, batch_size=16)
    assert metrics["accuracy"] > 0.9
    mine.export(trained, tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert evaluate(mine, again, data.val) == pytest.approx(metrics)
    assert AutoTokenizer.from_pretrained(tmp_path)("plum left")["input_ids"] == [2, 4, 9, 3]
    assert pretrained("sequence_classification", str(tmp_path), ["left", "right"]).config.id2label == {
        0: "left",
        1: "right",
    }


def test_weights_are_read_from_safetensors_alone(bert: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(bert, tmp_path / "pickled")
    weights = tmp_path / "pickled" / "model.safetensors"
    weights.unlink()
    torch.save({}, tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"AutoModelForSequenceClassification can not read it"):
        pretrained("sequence_classification", str(tmp_path / "pickled"), ["a", "b"])


def test_code_in_a_models_folder_is_not_run(bert: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "custom"
    shutil.copytree(bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "custom",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ConfigError, match=r"can not read it"):
        pretrained("sequence_classification", str(folder), ["a", "b"])
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match=r"model.path=.*can not read it"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(ConfigError, match=r"no such folder\. Did you mean 'mine'\?"):
        pretrained("sequence_classification", str(tmp_path / "mint"))


def test_no_network_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        ConfigError,
        match=r"model.path=nobody/nothing: not a local folder and not in the local cache, and the hub can not be reached",
    ):
        pretrained("sequence_classification", "nobody/nothing")
