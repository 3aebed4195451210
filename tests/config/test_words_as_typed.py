"""Overrides that cannot be read: one line says what is wrong, and what it offers instead is read as the text that was meant."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from launcher.__main__ import main
from launcher.config.syntax_errors import in_shell, syntax
from launcher.errors import beginning

TEXTS = {
    "notes=a\nb": "a\nb",
    "notes=a\tb(": "a\tb(",
    "notes=it's": "it's",
    'notes=""x""': '""x""',
    "notes='a": "'a",
    "notes=5\" of 3'": "5\" of 3'",
    "notes=a:b=c, d": "a:b=c, d",
    "notes=é": "é",
    "notes=(\\": "(\\",
    'notes=(\\"': '(\\"',
    "notes=<b>;$HOME`x`": "<b>;$HOME`x`",
    'tags=["α",β]': ["α", "β"],
    "tags=['a b',c=d]": ["a b", "c=d"],
    "tags=[α,,b]": ["α", "b"],
    "tags=[0.5,é,]": ["0.5", "é"],
    "tags=[a": "[a",
}


@pytest.mark.parametrize("word", TEXTS)
def test_what_is_offered_is_what_was_meant(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the shell that reads it, and by Hydra."""
    assert main([word]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    offered = said.rstrip("\n").rpartition("needs quotes: ")[2]
    typed = subprocess.run(["bash", "-c", f"printf %s {offered}"], capture_output=True, text=True, check=True).stdout
    read = OverridesParser.create().parse_override(typed).value()
    assert read == TEXTS[word]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("optimizer.lr=xyz(1)", "optimizer.lr=xyz(1): there is no function 'xyz'. There are: bool, choice, extend_list, float, glob, int, interval, json_str, range, shuffle, sort, str, tag"),
        ("optimizer.lr=floot(1)", "optimizer.lr=floot(1): there is no function 'floot'. Did you mean 'float'"),
        ("optimizer.lr=int(a)", "optimizer.lr=int(a): int(a): invalid literal for int() with base 10: 'a'"),
        ('seed=int("1\n2")', r"""seed=int("1\n2"): int("1\n2"): invalid literal for int() with base 10: '1\n2'"""),
        ("seed=choice()", "seed=choice(): choice(): empty choice is not legal"),
        ("seed=interval(1)", "seed=interval(1): interval(1): missing a required argument: 'end'"),
        ("a=b=c", "a=b=c: the value can not be read"),
        ("tags=[a", "tags=[a: the value can not be read: '[' and ']' do not match"),
    ],
)  # fmt: skip
def test_why_it_is_not_read(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}; a text with special characters needs quotes: ")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("@=1", "@=1: expected key=value; the key is missing"),
        ("+=1", "+=1: expected key=value; the key is missing"),
        ("/optimizer=adam", "/optimizer=adam: no key begins with '/': optimizer=adam"),
        ("optimizer.\nlr=1", r"optimizer.\nlr=1: 'optimizer.\nlr' can not be a key: keys are words with dots between them, and there is no space around '='"),
        ('training.max_steps="1\n2"', r'training.max_steps="1\n2": expected a whole number or null'),
        ('optimizer="ad\nam"', r"""optimizer="ad\nam": no such option of the group 'optimizer'. Did you mean 'adam' or 'adamw'? (conf/optimizer has: adafactor, adam, adamw, adamw_8bit, lion, muon, schedule_free, sgd)"""),
        ('objective.direction="up\ndown"', r'objective.direction="up\ndown": expected minimize or maximize'),
    ],
)  # fmt: skip
def test_one_line_whatever_was_typed(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_a_word_for_a_shell() -> None:
    for word in ("a b", "it's", "a\\b", "a\n\\'b", "é\t"):
        printed = subprocess.run(
            ["bash", "-c", f"printf %s {in_shell(word)}"], capture_output=True, text=True, check=True
        )
        assert printed.stdout == word
    assert shlex.split(in_shell('a "b"')) == ['a "b"']
    assert syntax("x").startswith("x: expected key=value")


def test_a_library_s_words_end_between_words_and_say_so() -> None:
    assert beginning("one\n  two") == "one two"
    assert beginning("word " * 100, 12) == "word word ..."
    assert beginning("x" * 20, 5) == "xxxxx ..."
