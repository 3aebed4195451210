"""What is taken for a secret, and what is not."""

from __future__ import annotations

import pytest

from launcher.artifacts.masking import MASK, mask, mask_code, secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://me:word@host/db", "postgresql+psycopg://me:***@host/db"),
        ("see mysql://me:w@rd@host:3306/db, now", "see mysql://me:***@host:3306/db, now"),
        ("redis://:word@host", "redis://:***@host"),
        ("https://0123456789abcdefABCDEF@github.com/x", "https://***@github.com/x"),
        ("http://host/x?a=1&password=word&b=2", "http://host/x?a=1&password=***&b=2"),
        ("http://host/x?access_token=word", "http://host/x?access_token=***"),
        ("mssql://host/db?sslpassword=word;x", "mssql://host/db?sslpassword=***;x"),
        ("a ghp_0123456789abcdefghij0123 b", "a *** b"),
        ("hf_abcdefghijklmnopqrstuvwxyz", "***"),
        ("sk-proj-0123456789abcdefghij", "***"),
        ("AKIA0123456789ABCDEF", "***"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer ***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "***"),
    ],
)
def test_what_looks_like_a_secret(text: str, shown: str) -> None:
    assert mask(text) == shown
    assert mask(shown) == shown
    assert secrets({"notes": text, "deep": [{"x": text}]}) == ["notes", "deep.0.x"]


@pytest.mark.parametrize(
    "text",
    [
        "http://host:8080/x", "postgresql+psycopg://user@host/database", "sqlite:///study.db", "file:///tmp/a:b@c", "user@host",
        "a sk-x b", "tokenizer=bpe", "see issue http://host/x?page=2", "optimizer.lr=0.1", "the key to it: patience", "eyJ", "12:30@home",
    ],
)  # fmt: skip
def test_what_does_not(text: str) -> None:
    assert mask(text) == text
    assert secrets({"notes": text}) == []


def test_a_value_is_told_by_the_variable_that_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MY_API_KEY", "orange-crate"), ("DB_PASSWORD", "orange-crate-two"), ("SHORT_TOKEN", "abc")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOKEN_FILE", "a-file-elsewhere")
    monkeypatch.setenv("CREDENTIALS", "/home/me/key.json")
    assert mask("x orange-crate-two y orange-crate z abc") == f"x {MASK} y {MASK} z abc"
    assert mask("a-file-elsewhere /home/me/key.json") == "a-file-elsewhere /home/me/key.json"


def test_a_key_tells_whatever_its_value_is() -> None:
    assert secrets({"password": 12345678, "api_key": "x", "token": None, "secret": "", "hf_token": False}) == [
        "password",
        "api_key",
    ]
    assert secrets({"http://me:word@host": 1, "a": {"http://me:word@host": 1}}) == ["a key of the config", "a key of a"]


def test_code_keeps_everything_but_what_is_given_to_a_secret_name() -> None:
    code = "-token = next(tokens)\n+password = 'orange'\n+export MY_SECRET=crate\n+API_KEY=x\n+n_tokens = 3\n"
    shown = "-token = next(tokens)\n+password = ***\n+export MY_SECRET=***\n+API_KEY=***\n+n_tokens = 3\n"
    assert mask_code(code) == shown
