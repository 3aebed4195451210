"""Language models: the packed stream, its cache, the vocabularies, and a perplexity below a unigram model's."""

from __future__ import annotations

import math
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from launcher.data.batches import Batches, EvalBatches
from launcher.data.splits import Holdout
from launcher.errors import ConfigError
from launcher.tasks.data import packing
from launcher.tasks.data.files import Files
from launcher.tasks.data.kinds import Corpus
from launcher.tasks.data.packing import PackedSamples, cached, write_stream
from launcher.tasks.data.stdlib import InMemory, Stdlib
from launcher.tasks.models.hub import pretrained
from launcher.tasks.models.llama import llama
from launcher.tasks.pretrain_clm import PretrainCLM
from tests.tasks.conftest import evaluate, factory, train

TEXTS = [f"document {number} says {'la ' * (20 + number)}and ends" for number in range(12)]


class Made:
    """A corpus in memory."""

    kind = "corpus"

    def __init__(self, texts: list[str]) -> None:
        self.made = texts

    def corpus(self) -> Corpus:
        return Corpus(InMemory(self.made), "made|" + "|".join(self.made))


def task(data: Any = None, model: Any = None, **options: Any) -> Any:
    return PretrainCLM(
        data or Made(TEXTS), model or factory(llama, width=32, depth=1, num_heads=2), Holdout(0.25, seed=0), **options
    )


def test_perplexity_falls_below_a_unigram_models() -> None:
    mine = task(
        Stdlib(max_bytes=150_000), factory(llama, width=48, depth=2, num_heads=2, num_kv_heads=1), sequence_length=48
    )
    _, metrics = train(mine, 160, lr=1e-2, batch_size=16)
    data = mine.datasets()
    counts = np.bincount(_targets(data.train), minlength=257) + 1.0
    held_out = _targets(data.val)
    unigram = math.exp(-np.log(counts / counts.sum())[held_out].mean())
    assert 10 < unigram < 60
    assert metrics["perplexity"] < 0.6 * unigram
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]))


def _targets(samples: PackedSamples) -> np.ndarray:
    return samples.fetch(torch.arange(len(samples)))["labels"].flatten().numpy()


@pytest.mark.parametrize("length", [1, 7, 32])
def test_packing_loses_and_repeats_no_token(length: int) -> None:
    """The windows put end to end are the documents' bytes with an end token after each, and what is over is said."""
    mine = task(sequence_length=length)
    data = mine.datasets()
    train_rows, val_rows = next(iter(mine.validation.split(np.zeros(len(TEXTS)))))
    for samples, rows in ((data.train, train_rows), (data.val, val_rows)):
        stream = [token for row in rows for token in [*TEXTS[row].encode(), 256]]
        batch = samples.fetch(torch.arange(len(samples)))
        assert batch["input_ids"].shape == batch["labels"].shape == (len(samples), length)
        covered = len(samples) * length
        assert batch["input_ids"].flatten().tolist() == stream[:covered]
        assert batch["labels"].flatten().tolist() == stream[1 : covered + 1]
        assert samples.left_over == len(stream) - 1 - covered < length


def test_documents_are_split_before_they_are_packed() -> None:
    texts = [f"<{number}>" + chr(ord("a") + number) * 30 for number in range(20)]
    data = task(Made(texts), sequence_length=4).datasets()
    inside = [{chr(token) for token in _targets(samples) if 97 <= token < 117} for samples in (data.train, data.val)]
    assert not inside[0] & inside[1]
    assert len(inside[0] | inside[1]) == 20


def test_an_epoch_reads_every_token_once() -> None:
    """Through the batches of two ranks and through the evaluation's."""
    data = task(sequence_length=8).datasets()
    num = len(data.train) // 4 * 4
    seen = []
    for rank in range(2):
        batches = Batches(data.train, batch_size=4, seed=0, rank=rank, world_size=2).start(0)
        seen += [batch["input_ids"] for _ in range(num // 4) for batch in next(batches)]
    order = Batches(data.train, batch_size=4, seed=0).order(0)[:num]
    expected = data.train.fetch(order)["input_ids"]
    assert sorted(torch.cat(seen).tolist()) == sorted(expected.tolist())
    evaluated = torch.cat([batch["labels"] for batch in EvalBatches(data.val, batch_size=3)])
    assert torch.equal(evaluated, data.val.fetch(torch.arange(len(data.val)))["labels"])


def test_the_loss_is_the_mean_over_the_target_tokens() -> None:
    mine = task(sequence_length=16)
    data = mine.datasets()
    model = mine.model()
    batch = data.train.fetch(torch.arange(2))
    logits = mine.forward(model, batch)
    loss = mine.loss(logits, batch)
    chances = torch.log_softmax(logits.double(), dim=-1)
    expected = -chances.gather(-1, batch["labels"].unsqueeze(-1)).sum()
    torch.testing.assert_close(loss.sum.double(), expected, rtol=1e-6, atol=0)
    assert (loss.weight, type(loss.weight)) == (32, int)
    assert mine.tokens(batch) == 32
    reference = model(
        input_ids=data.train.fetch(torch.tensor([0]))["input_ids"],
        labels=data.train.fetch(torch.tensor([0]))["input_ids"],
    ).loss
    shifted = mine.loss(logits[:1, :-1], {"labels": batch["input_ids"][:1, 1:]})
    torch.testing.assert_close(shifted.sum / shifted.weight, reference)


def test_bits_per_byte() -> None:
    mine = task()
    mine.datasets()
    assert mine.derived({"loss": math.log(2)})["bits_per_byte"] == pytest.approx(mine.tokens_per_byte)
    assert 1 < mine.tokens_per_byte < 1.1  # bytes and an end token a document
    assert mine.derived({"loss": 1e4})["perplexity"] == math.inf


def test_bpe_is_learned_from_the_training_documents_alone() -> None:
    texts = ["plum fig oak " * 20 for _ in range(16)]
    held_out = next(iter(Holdout(0.25, seed=0).split(np.zeros(16))))[1]
    for row in held_out:
        texts[row] = "zyzzyva " * 30
    mine = task(Made(texts), tokenizer="bpe", vocab_size=300, sequence_length=8)
    data = mine.datasets()
    assert len(mine.vocabulary.encode([" plum"])[0]) == 1
    assert len(mine.vocabulary.encode(["zyzzyva"])[0]) > 4
    train_text = "".join(texts[row] for row in range(16) if row not in held_out)
    assert data.train.num_tokens < len(train_text) / 3
    stream = np.fromfile(data.train.path, dtype=data.train.dtype).tolist()
    pieces = mine.vocabulary.tokenizer.decode(stream, skip_special_tokens=False).split("<|end|>")
    assert pieces == [*(texts[row] for row in range(16) if row not in held_out), ""]


def test_a_large_vocabulary_takes_wider_numbers(tmp_path: Path) -> None:
    write_stream(tmp_path / "wide.bin", [[70_000, 1], [2]], 5, "uint32")
    samples = PackedSamples(tmp_path / "wide.bin", "uint32", 2)
    assert samples.fetch(torch.arange(2))["input_ids"].tolist() == [[70_000, 1], [5, 2]]


def test_a_stream_is_made_once_and_again_when_something_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = task().datasets().train.path
    stamp = first.stat().st_mtime_ns
    assert first.is_relative_to(tmp_path / "launcher")
    assert task(sequence_length=3).datasets().train.path == first  # windows are cut from the same stream
    assert first.stat().st_mtime_ns == stamp
    others = [
        task(tokenizer="bpe", vocab_size=300, sequence_length=8).datasets().train.path,
        task(Made([*TEXTS, "one more"])).datasets().train.path,
        PretrainCLM(Made(TEXTS), factory(llama), Holdout(0.25, seed=1), sequence_length=8).datasets().train.path,
    ]
    assert len({first, *others}) == 4
    assert not [path for path in (tmp_path / "launcher" / "packed").iterdir() if path.name.endswith(".part")]


def _race(folder: str, start: Any, results: Any) -> None:
    import os

    os.environ["XDG_CACHE_HOME"] = folder
    start.wait()
    results.put(
        np.fromfile(
            task(tokenizer="bpe", vocab_size=300, sequence_length=8).datasets().train.path, dtype="uint16"
        ).tolist()
    )


def test_many_processes_may_build_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    workers = [context.Process(target=_race, args=(str(tmp_path), start, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    start.set()
    streams = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(timeout=60)
    assert streams[0] == streams[1] == streams[2]
    assert len([path for path in (tmp_path / "launcher" / "packed").iterdir() if path.is_dir()]) == 1


def test_what_a_killed_build_left_is_cleared_and_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remains = tmp_path / "launcher" / "kind" / "name.abc.part"
    remains.mkdir(parents=True)
    (remains / "file").write_text("half")

    def killed(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("kind", "name", killed)
    place = cached("kind", "name", lambda folder: (folder / "file").write_text("whole") and None)
    assert (place / "file").read_text() == "whole"
    assert sorted(path.name for path in place.parent.iterdir()) == ["name", "name.lock"]
    assert cached("kind", "name", killed) == place


def test_a_cache_that_can_not_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"can not keep prepared data in .*; XDG_CACHE_HOME names another place"):
        task().datasets()


def test_samples_travel_to_a_worker_without_their_tokens() -> None:
    data = task(Stdlib(max_bytes=100_000)).datasets()
    data.train.fetch(torch.arange(1))
    sent = pickle.dumps(data.train)
    assert len(sent) < 2000
    assert torch.equal(pickle.loads(sent).fetch(torch.arange(3))["labels"], data.train.fetch(torch.arange(3))["labels"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "byte"}, r"task\.tokenizer=byte: expected bytes or bpe\. Did you mean 'bytes'"),
        ({"sequence_length": 0}, r"task\.sequence_length=0: expected a positive number"),
        ({"tokenizer": "bpe", "vocab_size": 20}, r"task\.vocab_size=20: at least 258"),
        ({"sequence_length": 10_000}, r"task\.sequence_length=10000 is longer than the whole text: \d+ tokens"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(**options).datasets()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 30, "num_heads": 4}, r"model\.width=30 over model\.num_heads=4"),
        ({"num_heads": 4, "num_kv_heads": 3}, r"model\.num_heads=4 is not a multiple of model\.num_kv_heads=3"),
    ],
)
def test_llama_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        llama(257, 16, 256, **options)


def test_llama_options() -> None:
    tied = llama(300, 16, 0, width=32, depth=2, num_heads=4, num_kv_heads=2)
    assert tied.model.layers[0].self_attn.k_proj.out_features == 16
    assert tied.model.layers[0].mlp.up_proj.out_features == 96
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    untied = llama(300, 16, 0, width=32, depth=2, num_heads=4, num_kv_heads=2, tie_embeddings=False)
    assert untied.num_parameters() - tied.num_parameters() == 300 * 32


def test_the_standard_library_as_a_corpus() -> None:
    corpus = Stdlib(max_bytes=300_000).corpus()
    texts = corpus.documents.read(np.arange(len(corpus.documents)))
    size = sum(len(text.encode()) for text in texts)
    assert 250_000 < size <= 300_000
    assert Stdlib(max_bytes=300_000).corpus().fingerprint == corpus.fingerprint
    assert Stdlib(max_bytes=200_000).corpus().fingerprint != corpus.fingerprint
    with pytest.raises(ConfigError, match=r"data\.max_bytes=0: expected a positive number"):
        Stdlib(max_bytes=0)
    with pytest.raises(ConfigError, match=r"data\.max_bytes=10 leaves 0 file"):
        Stdlib(max_bytes=10).corpus()


def test_text_files_as_a_corpus(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text(f"text {number}\n\nof two paragraphs\n")
    corpus = Files(str(tmp_path)).corpus()
    assert corpus.documents.read(np.array([2, 0])) == ["text 2\n\nof two paragraphs\n", "text 0\n\nof two paragraphs\n"]
    one = Files(str(tmp_path / "1.txt")).corpus()
    assert one.documents.read(np.arange(len(one.documents))) == ["text 1", "of two paragraphs\n"]
    (tmp_path / "1.txt").write_text("text 9\n\nof two paragraphs\n")
    assert Files(str(tmp_path)).corpus().fingerprint != corpus.fingerprint


def test_a_causal_model_exported_is_the_next_stages_start(tmp_path: Path) -> None:
    """`model=hub model.path=<run>/model`: same weights, same vocabulary, same stream."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    mine = task(tokenizer="bpe", vocab_size=300, sequence_length=8)
    model, metrics = train(mine, 20, batch_size=8)
    mine.export(model, tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert evaluate(mine, again, mine.datasets().val) == pytest.approx(metrics)
    assert (
        AutoTokenizer.from_pretrained(tmp_path)("document 3")["input_ids"] == mine.vocabulary.encode(["document 3"])[0]
    )

    following = task(model=factory(pretrained, path=str(tmp_path)), sequence_length=8)
    data = following.datasets()
    assert np.array_equal(_targets(data.val), _targets(mine.datasets().val))
    assert evaluate(following, following.model(), data.val) == pytest.approx(metrics)


def test_the_key_covers_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    before = packing.key(a=1)
    monkeypatch.setattr(packing, "FORMAT", packing.FORMAT + 1)
    assert packing.key(a=1) != before
