from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import pexpect
import pytest

from launcher.console import numbers, terminal
from launcher.console.console import Console, View
from launcher.console.summary import commands, header_rows, override

ROOT = Path(__file__).resolve().parents[2]
FACTS = {
    "name": None,
    "task": "ImageClassification",
    "model": "CNN",
    "parameters": 23114,
    "trainable_parameters": 23114,
    "data": "Digits",
    "train_samples": 1437,
    "val_samples": 360,
    "device": "cpu",
    "ranks": 1,
    "precision": "float32",
    "steps": 1350,
    "epochs": 30.0,
    "batch_size": 32,
    "resumed_from": None,
    "seed": 0,
    "folder": "outputs/a",
}
RESULT: dict[str, Any] = {
    "status": "completed",
    "reason": "max_epochs",
    "objective": {"name": "val/accuracy", "value": 0.98611, "direction": "maximize"},
    "metrics": {"val/accuracy": 0.98611, "val/loss": 0.0512, "train/loss": 0.03, "lr": 1e-8},
    "best_step": 1200,
    "steps": 1350,
    "epochs": 30.0,
    "wall_s": 185.2,
    "steps_per_s": 584.3,
    "samples_per_s": 18700.0,
    "peak_memory_bytes": 512 * 2**20,
}
SCRIPT = """
import itertools, os, signal, sys, time
from pathlib import Path
from types import SimpleNamespace as Space
from launcher.console.console import Console
from launcher.console.terminal import Plain, Terminal
Terminal.interval_s = Plain.interval_s = 0.01
began = time.monotonic()
run = Space(
    progress=Space(step=0, elapsed=lambda: time.monotonic() - began),
    plan=Space(total_steps=1350, last_step=1350, max_time=None),
    metrics={"train/loss": 0.25},
    objective=("val/accuracy", "maximize"),
)
seen = []
for surface in (Plain, Terminal):
    def progress(self, view, draw=surface.progress):
        draw(self, view)
        seen.append(view.step)
    surface.progress = progress
console = Console()
console.start(run)
def steps(first, last):
    # each third step is one that the console has seen
    for step in range(first, last):
        run.progress.step = step + 1
        while step % 3 == 2 and (not seen or seen[-1] != step + 1):
            time.sleep(0.001)
result = {"status": "completed", "reason": "max_steps", "steps": 1350, "epochs": 30.0, "wall_s": 1.0}
"""
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(body: str, columns: int = 100, **environ: str) -> tuple[str, int]:
    """What a script's terminal receives, and its exit status (negative: the signal)."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "TERM", "COLUMNS")}
    env = inherited | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"} | environ
    child = pexpect.spawn(
        sys.executable,
        ["-c", SCRIPT + body],
        env=env,
        dimensions=(30, columns),
        cwd=str(ROOT),
        encoding="utf-8",
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()
    return child.before or "", child.exitstatus if child.exitstatus is not None else -(child.signalstatus or 0)


def rows(received: str) -> list[str]:
    """The rows of text that were drawn, one after another, without their sequences."""
    return [row for row in re.split(r"[\r\n]+", SEQUENCE.sub("", received)) if row.strip()]


# -- on a terminal


def test_a_terminal_shows_one_live_bar_below_permanent_lines() -> None:
    body = (
        "steps(0, 60)\nconsole.evaluation(60, 1.3, {'val/loss': 0.5, 'val/accuracy': 0.75}, True)\n"
        "run.metrics['val/accuracy'] = 0.75\nsteps(60, 135)\nprint('from a task')\nsteps(135, 150)\nconsole.summary(result, Path('outputs/a'))\n"
    )
    received, status = on_terminal(body)
    drawn = rows(received)
    assert status == 0
    bars = [row for row in drawn if "━" in row or ("─" in row and "/1,350" in row)]
    assert len(bars) > 5
    assert re.search(
        r"━{2,3}─{20,}\s+10%  135/1,350  loss 0\.2500  .* left  val/accuracy 0\.7500  .* steps?/s", "\n".join(bars)
    )
    assert any(row.startswith("step    60  epoch 1.3    val/accuracy 0.7500  best  val/loss 0.5000") for row in drawn)
    assert "from a task" in drawn
    last = max(index for index, row in enumerate(drawn) if "/1,350" in row)
    assert any("completed" in row for row in drawn[last:])


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("raise RuntimeError('boom')", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("os.kill(os.getpid(), signal.SIGTERM)", -15),
        ("os._exit(130)", 130),
    ],
)
def test_the_terminal_has_nothing_to_be_put_right_however_a_run_ends(end: str, expected: int) -> None:
    received, status = on_terminal(f"steps(0, 60)\n{end}\n")
    assert status == expected
    assert "/1,350" in received
    assert "\x1b[?25l" not in received  # the cursor was never hidden
    assert "\x1b[?1049h" not in received  # nor the screen changed
    if expected == 1:
        assert "RuntimeError: boom" in rows(received)
        after = received.rpartition("/1,350")[2].partition("\r")[2]
        assert "\x1b[2K" in after  # the bar was taken away
        assert SEQUENCE.sub("", after).strip() == ""


def test_a_narrow_terminal_gets_no_row_wider_than_itself() -> None:
    body = (
        "console.header({'task': 'ImageClassification', 'folder': '/a' * 60})\nsteps(0, 60)\n"
        "console.evaluation(60, 1.3, {f'val/metric_{n}': 0.5 for n in range(9)}, False)\nconsole.warning('word ' * 40)\nsteps(60, 80)\n"
        "console.summary(result, Path('/b' * 60), {})\n"
    )
    received, status = on_terminal(body, columns=40)
    assert status == 0
    assert max(len(row) for row in rows(received)) <= 40
    assert any("/1,350" in row for row in rows(received))
    assert SEQUENCE.sub("", received).count("/b") >= 59  # a long folder is folded, not cut


@pytest.mark.parametrize("columns", [40, 32])
def test_a_narrow_terminal_shows_the_value_before_what_stands_around_it(columns: int) -> None:
    body = (
        "run.metrics['val/accuracy'] = 0.75\nsteps(0, 60)\n"
        "console.evaluation(1060, 1.3, {'val/loss': 0.5, 'val/accuracy': 0.75}, True)\nsteps(60, 80)\n"
    )
    received, status = on_terminal(body, columns=columns)
    assert status == 0
    drawn = rows(received)
    assert max(map(len, drawn)) <= columns
    assert any(row.startswith("step 1,060  val/accuracy 0.7500") for row in drawn), drawn
    assert any("/1,350" in row and "loss 0.2500" in row for row in drawn), "the moving line too"
    if columns == 40:
        assert any(row.rstrip().endswith("0.7500  best") for row in drawn)


def test_commands_are_not_broken_so_that_they_can_be_copied() -> None:
    command = "python -m launcher resume=" + "x" * 80
    received, _ = on_terminal(f"console.summary(result, Path('a'), {{'go on': {command!r}}})\n", columns=40)
    assert command in SEQUENCE.sub("", received)


def test_no_color_leaves_the_bar_and_takes_the_colours() -> None:
    body = "steps(0, 60)\nconsole.warning('careful')\nconsole.summary(result, Path('a'))\n"
    colour = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10\d)(?:;\d+)*m")
    plain, _ = on_terminal(body, NO_COLOR="1")
    coloured, _ = on_terminal(body)
    assert colour.search(coloured)
    assert not colour.search(plain)
    assert "━" in plain


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"CI": "true"}])
def test_a_dumb_terminal_and_ci_get_plain_lines(environ: dict[str, str]) -> None:
    received, _ = on_terminal(
        "steps(0, 60)\nconsole.message('hello')\nconsole.summary(result, Path('a'), {})\n", **environ
    )
    assert "\x1b" not in received
    assert rows(received)[:2] == ["hello", "completed  max_steps"]


def test_an_encoding_without_the_signs_gets_ascii() -> None:
    body = "steps(0, 60)\nconsole.message('ümlaut ± …')\nconsole.summary(result, Path('a'))\n"
    received, status = on_terminal(body, PYTHONIOENCODING="ascii")
    assert status == 0
    assert received.isascii()
    assert re.search(r"[#.]{20,}\s+\d%  \d+/1,350", SEQUENCE.sub("", received))
    assert "\\xfcmlaut +/- ..." in received


def test_control_characters_in_a_text_do_not_reach_the_terminal() -> None:
    received, _ = on_terminal("console.message('a\\x1b[2Jb\\x07c')\n")
    assert "a[2Jbc" in received
    assert "\x1b[2J" not in received


def test_forks_in_the_middle_of_drawing_neither_hang_nor_draw() -> None:
    """Data workers are forked while the bar is drawn; what they print goes where the parent's own stream goes."""
    body = (
        "Terminal.interval_s = 0.001\n"
        "for child in range(40):\n"
        "    steps(child, child + 3)\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        console.message('drawn by a child')\n"
        "        os.write(1, f'[{type(sys.stdout).__name__}]'.encode()); sys.stdout.flush(); os._exit(7)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7\n"
        "console.message('parent done')\n"
    )
    received, status = on_terminal(body)
    assert status == 0
    assert received.count("[TextIOWrapper]") == 40
    assert "drawn by a child" not in received
    assert "parent done" in received


def test_a_signal_handler_may_speak_in_the_middle_of_a_line() -> None:
    body = (
        "counter = itertools.count(1)\n"
        "def handle(number, frame):\n"
        "    console.message(f'signal {next(counter)}.')\n"
        "signal.signal(signal.SIGALRM, handle); signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
        "for line in range(300): console.message(f'line {line}.')\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "console.message(f'said {next(counter) - 1}.')\n"
    )
    received, status = on_terminal(body)
    assert status == 0
    (said,) = re.findall(r"said (\d+)\.", received)
    assert int(said) > 0
    signalled = sorted(int(number) for number in re.findall(r"signal (\d+)\.", received))
    assert signalled == list(range(1, int(said) + 1))  # sorted: a handler may be interrupted by the next
    assert [int(number) for number in re.findall(r"line (\d+)\.", received)] == list(range(300))


# -- elsewhere


def test_plain_lines_word_for_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stream = io.StringIO()
    console = Console(stream)
    console.header(FACTS)
    console.evaluation(45, 1.0, {"val/loss": 0.5, "val/accuracy": 0.9}, True)
    console.message("checkpoint step-100 is torn: falling back to step-50")
    console.warning("careful")
    console.stop()
    console.summary(RESULT, tmp_path / "outputs" / "a", {"page": "python -m launcher action=report run=outputs/a"})
    assert stream.getvalue().splitlines() == [
        "task    ImageClassification",
        "model   CNN, 23,114 parameters",
        "data    Digits, 1,437 to train on, 360 to validate on",
        "device  cpu, 1 rank, float32",
        "length  1,350 steps, 30 epochs, 32 samples a step",
        "seed    0",
        "folder  outputs/a",
        "step 45  epoch 1      val/loss 0.5000  best  val/accuracy 0.9000",
        "checkpoint step-100 is torn: falling back to step-50",
        "warning: careful",
        "completed     max_epochs",
        "val/accuracy  0.9861, best at step 1,200",
        "val/loss      0.0512",
        "train/loss    0.0300",
        "trained       1,350 steps, 30 epochs in 3m05s",
        "speed         584 steps/s, 18,700 samples/s",
        "peak memory   512 MiB",
        "folder        outputs/a",
        "page  python -m launcher action=report run=outputs/a",
    ]


def test_the_header_says_what_is_trained_and_where_it_goes_on() -> None:
    said = dict(
        header_rows(
            FACTS | {"trainable_parameters": 1200, "resumed_from": 450, "ranks": 2, "val_samples": 0, "folds": 5}
        )
    )
    assert said["model"] == "CNN, 23,114 parameters, 1,200 trainable"
    assert said["resumed"] == "from step 450"
    assert said["device"] == "cpu, 2 ranks, float32"
    assert said["data"] == "Digits, 1,437 to train on"
    assert said["folds"] == "5"


def test_a_procedure_is_summed_up_with_its_spread() -> None:
    stream = io.StringIO()
    fits = RESULT | {"reason": "5 fits", "std": {"val/accuracy": 0.0031, "val/loss": 0.002}, "mean": RESULT["metrics"]}
    Console(stream).summary(fits, Path("a"), {})
    assert "val/accuracy  0.9861 ± 0.0031" in stream.getvalue()
    assert "val/loss      0.0512 ± 0.0020" in stream.getvalue()


def test_a_preempted_run_says_that_it_can_go_on() -> None:
    stream = io.StringIO()
    Console(stream).summary(RESULT | {"status": "preempted", "reason": "preempted"}, Path("a"), {})
    assert stream.getvalue().splitlines()[0] == "preempted     saved, to be resumed"


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    console = Console(stream, quiet=True)
    console.header(FACTS)
    console.evaluation(1, 1.0, {"val/loss": 0.5}, True)
    console.warning("careful")
    console.summary(RESULT, Path("a"))
    assert stream.getvalue() == ""


class Stand:
    """The part of a Run that the bar reads."""

    def __init__(self, total: int | None, max_time: float | None = None) -> None:
        from launcher.core.run import Plan, Progress

        self.progress = Progress()
        self.plan = Plan(total, 45, 50, 45, 45, 0.0, max_time)
        self.metrics: dict[str, float] = {}
        self.objective = ("val/accuracy", "maximize")


def look(run: Stand, trail: deque[tuple[float, int]]) -> View:
    return View(run, trail)  # type: ignore[arg-type]  # it has all that a look needs


def test_a_look_counts_rate_and_time_left_over_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    run, trail = Stand(1000), deque[tuple[float, int]]()
    run.progress.started = 1000.0
    assert look(run, trail).words() == ["0/1,000"]
    for _ in range(40):  # ten steps a second, for twenty seconds
        clock[0] += 0.5
        run.progress.step += 5
        view = look(run, trail)
    assert (view.step, view.share, view.rate, view.left) == (200, 0.2, 10.0, 80.0)
    for _ in range(40):  # then twenty a second: the window forgets the slow ones
        clock[0] += 0.5
        run.progress.step += 10
        view = look(run, trail)
    assert (view.rate, view.left) == (20.0, 20.0)
    run.metrics |= {"train/loss": 0.5, "val/accuracy": 0.875}
    assert look(run, trail).words() == ["600/1,000", "loss 0.5000", "20 s left", "val/accuracy 0.8750", "20 steps/s"]


def test_a_run_limited_by_time_is_as_far_as_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    run, trail = Stand(None, max_time=100.0), deque[tuple[float, int]]()
    run.progress.started = 0.0
    clock[0] = 25.0
    view = look(run, trail)
    assert (view.share, view.left) == (0.25, 75.0)
    run = Stand(None)
    assert look(run, deque()).share is None


def test_plain_progress_comes_every_tenth_or_after_a_quiet_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    plain = terminal.Plain(stream)
    run, trail = Stand(1000), deque[tuple[float, int]]()
    run.progress.started = 0.0
    said = []
    for second in range(1, 201):
        clock[0], run.progress.step = float(second), second * 2 if second <= 100 else 200
        before = len(stream.getvalue())
        plain.progress(look(run, trail))
        if len(stream.getvalue()) > before:
            said.append(second)
    assert said == [30, 60, 90, 120, 150, 180]  # 20 % takes 100 s: the quiet time comes first
    assert stream.getvalue().splitlines()[0] == "  6%  60/1,000  7m50s left  2.0 steps/s"

    stream.seek(0)
    stream.truncate()
    plain, run, trail = terminal.Plain(stream), Stand(1000), deque()
    run.progress.started = clock[0]
    for _ in range(80):  # 12.5 steps a second: every tenth takes eight seconds
        clock[0], run.progress.step = clock[0] + 1, min(1000, run.progress.step + 13)
        plain.progress(look(run, trail))
    assert [line.split("%")[0].strip() for line in stream.getvalue().splitlines()] == [
        "10",
        "20",
        "31",
        "41",
        "52",
        "62",
        "72",
        "83",
        "93",
    ]


def test_a_reader_who_goes_away_does_not_end_the_run(tmp_path: Path) -> None:
    done = tmp_path / "done"
    body = f"for line in range(3000): console.message('line %d' % line)\nconsole.stop()\nopen({str(done)!r}, 'w').write('yes')\n"
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -c {shlex.quote(SCRIPT + body)} | head -1"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "line 0\n", "")
    assert done.read_text() == "yes"


def test_nothing_heavy_is_imported_for_plain_lines() -> None:
    script = "import sys; from launcher.console.console import Console; Console().message('x'); print([m for m in ('torch', 'rich', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "x\n[]\n"


# -- words


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("completed", "max_epochs", {"evaluate", "train on", "page"}),
        ("completed", "max_time", {"evaluate", "page"}),
        ("stopped", "val/loss has not improved", {"evaluate", "page"}),
        ("preempted", "preempted", {"go on", "evaluate", "page"}),
        ("failed", "the loss is nan", {"page"}),
    ],
)
def test_the_commands_that_come_next(tmp_path: Path, status: str, reason: str, expected: set[str]) -> None:
    (tmp_path / "model").mkdir()
    said = commands(RESULT | {"status": status, "reason": reason}, tmp_path)
    assert set(said) == expected
    if "train on" in said:
        assert said["train on"] == f"python -m launcher resume={tmp_path} training.max_epochs=60"


@pytest.mark.parametrize("kept", ["checkpoints/step-10", "fold-1/checkpoints/step-10", "fold-0/result.json"])
def test_a_failed_run_goes_on_where_there_is_something_to_go_on_from(tmp_path: Path, kept: str) -> None:
    (tmp_path / kept).mkdir(parents=True)
    assert "go on" in commands(RESULT | {"status": "failed", "reason": "the loss is nan"}, tmp_path)


@pytest.mark.parametrize(
    "name", ["plain", "my runs", "a=b,c", "it's", "back\\slash", "ünï", "${x}", "[1]", "a'b\\'c \"d\"", "ends in \\"]
)
def test_a_folder_in_a_command_reaches_hydra_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    monkeypatch.chdir(tmp_path)
    (word,) = shlex.split(override("resume", tmp_path / name))
    (parsed,) = OverridesParser.create().parse_overrides([word])
    assert parsed.key_or_group == "resume"
    assert parsed.value() == name


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (numbers.number(0.97222), "0.9722"),
        (numbers.number(2.302585), "2.303"),
        (numbers.number(99.5), "99.50"),
        (numbers.number(512.25), "512.2"),
        (numbers.number(12345.6), "12,346"),
        (numbers.number(-0.25), "-0.2500"),
        (numbers.number(3e-4), "3.00e-04"),
        (numbers.number(1.5e7), "1.50e+07"),
        (numbers.number(0.0), "0"),
        (numbers.number(float("nan")), "nan"),
        (numbers.number(float("-inf")), "-inf"),
        (numbers.count(1797), "1,797"),
        (numbers.count(52_400_000), "52.4 M"),
        (numbers.count(7e9), "7 G"),
        (numbers.things(1, "step"), "1 step"),
        (numbers.things(2.5, "epoch"), "2.50 epochs"),
        (numbers.span(0.84), "0.8 s"),
        (numbers.span(9.97), "10 s"),
        (numbers.span(59.6), "1m00s"),
        (numbers.span(185), "3m05s"),
        (numbers.span(3599.7), "1h00m"),
        (numbers.span(3840), "1h04m"),
        (numbers.span(86400 * 2 + 3600 * 3), "2d03h"),
        (numbers.rate(1953.7), "1,954 steps/s"),
        (numbers.rate(3.21, "token"), "3.2 tokens/s"),
        (numbers.rate(1 / 12), "12 s/step"),
        (numbers.rate(0), "0 steps/s"),
        (numbers.size(800), "800 bytes"),
        (numbers.size(1536 * 2**20), "1.5 GiB"),
        (numbers.share(0.4599), "45%"),
        (numbers.share(1.0), "100%"),
    ],
)
def test_numbers_as_people_read_them(said: str, expected: str) -> None:
    assert said == expected
