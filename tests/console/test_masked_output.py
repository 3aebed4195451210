"""What is printed into a log has no credentials in it, whichever way Python prints it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from launcher.console.masked_output import LONGEST, Masked
from tests.conftest import Launch
from tests.support.odd import TRUST

KEY = "orange-crate-17"
KEPT = (KEY, "word-of-me", "MIIEowIBAAKCAQEA")


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Masked:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    return Masked(io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True))


def written(stream: Masked) -> str:
    inside = stream.stream.buffer
    assert isinstance(inside, io.BytesIO)
    return inside.getvalue().decode()


def test_a_line_in_parts_is_masked_as_a_whole(stream: Masked) -> None:
    for part in ("https://me:", "word", "@host", "\n", "key ", KEY[:6], KEY[6:], "\nand"):
        stream.write(part)
    assert written(stream) == "https://me:***@host\nkey ***\n"
    stream.flush()
    assert written(stream) == "https://me:***@host\nkey ***\nand"


def test_a_private_key_is_masked_with_all_its_lines(stream: Masked) -> None:
    for line in ("before", "-----BEGIN PRIVATE KEY-----", "MIIE", "IBAA", "-----END PRIVATE KEY-----", "after"):
        stream.write(line + "\n")
    assert written(stream) == "before\n***\nafter\n"


def test_what_never_ends_is_not_kept(stream: Masked) -> None:
    stream.write("-----BEGIN PRIVATE KEY-----\n")
    for _ in range(LONGEST // 8 + 1):
        stream.write("." * 7 + "\n")
    assert written(stream).startswith("***\n.......\n")


def test_it_is_a_stream_as_any_other(stream: Masked) -> None:
    print("é", 1, file=stream)
    assert (stream.encoding, stream.isatty(), stream.writable(), written(stream)) == ("utf-8", False, True, "é 1\n")
    with pytest.raises(io.UnsupportedOperation):
        stream.fileno()  # as of what it is made of


@pytest.mark.parametrize(
    ("words", "logs"),
    [
        (("num_seeds=2",), ["seed-0"]),
        (("-m", "seed=1,2", "hydra.sweeper.study_name=s", "hydra.sweeper.n_jobs=1"), ["0", "1"]),
        (("-m", "seed=1", "hydra.sweeper.study_name=s", "parallel=ddp", "parallel.num_processes=2"), ["0"]),
    ],
    ids=["fits", "sweep", "ranks"],
)
def test_no_file_of_a_run_holds_what_a_library_told(
    words: tuple[str, ...], logs: list[str], launch: Launch, tmp_path: Path
) -> None:
    sweep = "-m" in words
    folder = tmp_path / ("multirun/s" if sweep else "run")
    where = () if sweep else ("hydra.run.dir=run",)
    environment = TRUST | {"SOME_API_KEY": KEY}
    done = launch(
        "model=mlp",
        "tracker=[]",
        "training.max_steps=2",
        "task._target_=tests.support.odd.Blabs",
        *words,
        *where,
        env=environment,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    for log in logs:
        text = (folder / log / "log.txt").read_text()
        for said in (
            "asking with ***",
            "key=*** at https://me:***@host/db",
            "refused: ***",
            "*** is old",
            "no answer to ***",
        ):
            assert said in text
        assert json.loads((folder / log / "result.json").read_text())["status"] == "failed"
    for path in folder.rglob("*"):
        if path.is_file():
            found = path.read_bytes()
            assert [secret for secret in KEPT if secret.encode() in found] == [], path
