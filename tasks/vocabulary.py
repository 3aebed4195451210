"""Vocabularies: what turns texts into numbers, and is saved beside the model so that others can."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

PAD, END = "<|pad|>", "<|end|>"


class Vocabulary(ABC):
    """Texts to token ids from 0 to `size` - 1."""

    size: int
    pad_id: int
    end_id: int

    @abstractmethod
    def encode(self, texts: list[str], max_length: int | None = None) -> list[list[int]]:
        """The ids of each text, the first `max_length` where one is longer."""

    @abstractmethod
    def decode(self, ids: list[int]) -> str:
        """The text of token ids, specials left out."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write it so that `transformers.AutoTokenizer.from_pretrained(folder)` reads it."""


class Trained(Vocabulary):
    """A vocabulary of the `tokenizers` library whose specials are END and, where it has one, PAD."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.encode_special_tokens = True  # a text that spells a special token does not become one
        self.size = tokenizer.get_vocab_size()
        ids = tokenizer.get_added_tokens_decoder()
        special = {token.content: number for number, token in ids.items()}
        self.end_id = special[END]
        self.pad_id = special.get(PAD, self.end_id)

    def encode(self, texts: list[str], max_length: int | None = None) -> list[list[int]]:
        return [
            encoding.ids[:max_length] for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ]

    def decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": PAD if self.pad_id != self.end_id else END,
            "clean_up_tokenization_spaces": False,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


class Pretrained(Vocabulary):
    """The tokenizer of a model from the hub; it adds the special tokens that the model was trained with."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.size = len(tokenizer)
        self.pad_id = int(tokenizer.pad_token_id)
        self.end_id = self.pad_id if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)

    def encode(self, texts: list[str], max_length: int | None = None) -> list[list[int]]:
        cut = {"truncation": True, "max_length": max_length} if max_length else {}  # keeps the special tokens
        ids: list[list[int]] = self.tokenizer(texts, verbose=False, **cut)["input_ids"]
        return ids

    def decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)

    def fingerprint(self) -> str:
        """Changes with what the tokenizer does."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        text = backend.to_str() if backend is not None else json.dumps(sorted(self.tokenizer.get_vocab().items()))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def train_bpe(texts: Iterable[str], vocab_size: int) -> Trained:
    """A byte-level BPE of at most `vocab_size` entries, learned from `texts` (Sennrich et al., 2016; Radford et al., 2019).

    Every text can be written in it, as all 256 bytes are entries. The same texts give the same vocabulary.

    Raises ConfigError for a `vocab_size` that leaves no room for the bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocab_size < 258:
        raise ConfigError(f"task.vocab_size={vocab_size}: at least 258, for the 256 bytes and two special tokens")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Trained(tokenizer)


def byte_vocabulary() -> Trained:
    """The 256 bytes of UTF-8, each its own number, and END as 256."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocab=_byte_letters(), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END, special=True)])
    return Trained(tokenizer)


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level BPE: itself where it prints, else one from U+0100 on."""
    prints = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters: dict[str, int] = {}
    free = 0x100
    for byte in range(256):
        if byte in prints:
            letters[chr(byte)] = byte
        else:
            letters[chr(free)] = byte
            free += 1
    return letters


def load(path: Path) -> Trained:
    """A vocabulary that `Trained.save` or its tokenizer wrote."""
    from tokenizers import Tokenizer

    return Trained(Tokenizer.from_file(str(path)))
