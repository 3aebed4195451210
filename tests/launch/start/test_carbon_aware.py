"""`start=carbon_aware`: the window is the cleanest there is, and the run begins in it."""

from __future__ import annotations

import base64
import csv
import json
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from launcher.errors import ConfigError
from launcher.launch.start.carbon_aware import CarbonAware
from launcher.launch.start.forecast import Stretch, ask, mean, read, stretches, windows
from tests.conftest import Launch

WORDS = ["model=mlp", "training.max_steps=2", "training.max_epochs=null", "tracker=[]", "start=carbon_aware"]
ENV = {"OMP_NUM_THREADS": "1"}
HOUR = 3600.0


def iso(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat()


def write(path: Path, rows: list[tuple[float, ...]]) -> Path:
    """A forecast: time and grams, perhaps the bounds."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["time", "intensity", "low", "high"][: len(rows[0])])
        lines.writerows([iso(time), *rest] for time, *rest in rows)
    return path


@pytest.mark.parametrize(
    ("name", "head", "between", "decimals", "encoding"),
    [
        ("plain.csv", "time,intensity,low,high", ",", ".", "utf-8"),
        ("excel.csv", "time,intensity,low,high", ",", ".", "utf-8-sig"),
        ("UPPER.CSV", "time,intensity,low,high", ",", ".", "utf-8"),
        ("european.csv", "time;intensity;low;high", ";", ",", "utf-8-sig"),
        ("tabs.tsv", "time\tintensity\tlow\thigh", "\t", ".", "utf-8"),
        ("rows.JSON", "", "", "", "utf-8-sig"),
    ],
)
def test_a_forecast_as_programs_save_it(
    tmp_path: Path, name: str, head: str, between: str, decimals: str, encoding: str
) -> None:
    rows = [(iso(HOUR * hour), 200.5 + hour, 190.25, 210.75) for hour in range(3)]
    lines = [head, *(between.join(str(each).replace(".", decimals) for each in row) for row in rows)]
    text = (
        "\n".join(lines)
        if head
        else json.dumps([{"time": row[0], "intensity": row[1], "low": row[2], "high": row[3]} for row in rows])
    )
    (tmp_path / name).write_text(text, encoding=encoding)
    assert read(tmp_path / name) == [
        Stretch(HOUR * hour, HOUR * (hour + 1), 200.5 + hour, pytest.approx(20.5 / (2 * 1.6449))) for hour in range(3)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_the_cleanest_window_of_all(seed: int) -> None:
    """No begin on a fine grid is better, and a window's mean is the integral's."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(rng.uniform(600, 5400, 30))
    known = [Stretch(a, b, v) for a, b, v in zip(ends[:-1], ends[1:], rng.uniform(20, 600, 29), strict=True)]
    now, length = float(rng.uniform(ends[0], ends[5])), float(rng.uniform(300, 4 * HOUR))
    deadline = float(rng.uniform(ends[15], ends[-1] + HOUR))
    found = windows(known, now, deadline, length)
    best = min(found, key=lambda window: window.value)
    assert now <= best.begin <= deadline - length
    grid = np.linspace(now, min(deadline, ends[-1]) - length, 3000)
    sampled = [window.value for begin in grid if (window := mean(known, float(begin), length)) is not None]
    assert best.value <= min(sampled) + 1e-9
    moments = np.linspace(best.begin, best.begin + length, 200_001)[:-1] + length / 400_000
    values = np.array([each.value for each in known])[np.searchsorted(ends, moments, side="right") - 1]
    assert best.value == pytest.approx(values.mean(), rel=1e-3)


def test_of_equal_windows_the_first_and_none_beyond_the_forecast() -> None:
    known = [Stretch(HOUR * hour, HOUR * (hour + 1), 100.0) for hour in range(4)]
    found = windows(known, 0.5 * HOUR, 100 * HOUR, HOUR)
    assert {window.value for window in found} == {100.0}
    assert max(window.begin for window in found) == 3 * HOUR
    assert min(found, key=lambda window: (window.value, window.begin)).begin == 0.5 * HOUR
    assert mean(known, 3.5 * HOUR, HOUR) is None


def test_what_the_forecast_leaves_out_is_never_chosen(tmp_path: Path) -> None:
    """Three hours, then one in the evening: a run of two hours lies within the three, and one of four nowhere."""
    now = 1.8e9
    rows = [
        (now + HOUR * hour, grams, grams - 1, grams + 1)
        for hour, grams in ((0, 400.0), (1, 380.0), (2, 50.0), (10, 60.0))
    ]
    file = str(write(tmp_path / "f.csv", rows))
    choice = CarbonAware(duration="2h", deadline="24h", forecast=file).choose(now)
    assert (choice.window.begin, choice.window.value) == (now + HOUR, pytest.approx(215.0))
    evening = CarbonAware(duration="30m", deadline="24h", forecast=file).choose(now + 5 * HOUR)
    assert evening.window.begin == now + 10 * HOUR
    assert evening.now is None
    said = CarbonAware(forecast=file, duration="30m").told(evening, now + 5 * HOUR)
    assert "the forecast does not hold a run that begins now" in said[1]
    assert "sure" not in said[1]
    with pytest.raises(
        ConfigError, match=r"but for 2027-01-15 11:00:00 UTC to 2027-01-15 18:00:00 UTC, holds no window"
    ):
        CarbonAware(duration="4h", deadline="24h", forecast=file).choose(now)


@pytest.mark.parametrize("seed", range(10))
def test_every_moment_of_every_window_has_a_row(seed: int) -> None:
    """Half hours of which some are missing: a window holds only what stands in the file."""
    rng = np.random.default_rng(seed)
    kept = [index for index in range(60) if index < 2 or rng.random() < 0.8]
    known = stretches([{"time": 1800.0 * index, "intensity": float(rng.uniform(20, 600))} for index in kept])
    for window in windows(known, 0.0, 1e6, 2.2 * 1800):
        moments = np.linspace(window.begin, window.begin + 2.2 * 1800, 400)[1:-1]
        assert {int(moment // 1800) for moment in moments} <= set(kept)


def test_rows_that_say_their_end_hold_until_then_and_no_longer() -> None:
    """Also of two resolutions; and never beyond the next one."""
    rows = [
        {"time": HOUR * hour, "to": HOUR * end, "intensity": 1.0}
        for hour, end in ((0, 1), (1, 2), (2, 8), (8, 20), (9, 11))
    ]
    assert [(each.begin / HOUR, each.end / HOUR) for each in stretches(rows)] == [
        (0, 1),
        (1, 2),
        (2, 8),
        (8, 9),
        (9, 11),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"time": 3600.0, "intensity": "nan"}, "no intensity in"),
        ({"time": 3600.0, "intensity": "inf"}, "no intensity in"),
        ({"time": 0.0, "intensity": 5.0}, "two rows of one time"),
        ({"time": 3600.0, "intensity": 5.0, "low": 9.0, "high": 1.0}, "low is not below high"),
        ({"time": 3600.0, "intensity": 5.0, "low": "nan", "high": 1.0}, "low is not below high"),
    ],
)
def test_rows_that_say_nothing_of_use_are_refused(row: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        stretches([{"time": 0.0, "intensity": 1.0}, row])


def test_what_it_saves_and_how_sure_it_is(tmp_path: Path) -> None:
    now = 1.8e9
    rows = [(now - 10, 400.0, 350.0, 450.0), (now + HOUR, 300.0, 240.0, 360.0), (now + 2 * HOUR, 500.0, 400.0, 600.0)]
    start = CarbonAware(duration="1h", deadline="3h", forecast=str(write(tmp_path / "f.csv", rows)), power_w=500)
    choice = start.choose(now)
    assert (choice.window.begin, choice.window.value) == (now + HOUR, 300.0)
    assert choice.now is not None
    assert choice.now.value == pytest.approx(400.0)
    assert choice.now.error == pytest.approx(100 / (norm.ppf(0.95) - norm.ppf(0.05)), rel=1e-4)
    first, second = start.told(choice, now)
    assert "in 1h00m" in first
    assert "300 g of CO2 a kWh, 400 g now: 25% less, 0.05 kg at 500 W" in first
    chance = norm.cdf(100 / np.hypot(100 / 3.2898, 120 / 3.2898))
    assert f"{chance:.0%} sure" in second
    assert "300 to 500 g" in second or "300 to 4" in second
    plain = [(time, value) for time, value, *_ in rows]
    unsure = CarbonAware(duration="1h", deadline="3h", forecast=str(write(tmp_path / "p.csv", plain)))
    assert "of its own error the forecast says nothing" in unsure.told(unsure.choose(now), now)[1]


def test_files_of_every_kind_say_the_same(tmp_path: Path) -> None:
    times, grams = [1.8e9 + 1800 * index for index in range(4)], [120.0, 80.0, 300.0, 200.0]
    pairs = list(zip(times, grams, strict=True))
    write(tmp_path / "rows.csv", [(time, value) for time, value in pairs])
    kinds = {
        "rows.json": [{"timestamp": time, "carbon_intensity": value} for time, value in reversed(pairs)],
        "maps.json": {"forecast": [{"datetime": iso(time), "carbonIntensity": value} for time, value in pairs]},
        "watttime.json": {
            "data": [{"point_time": iso(time), "value": value / 0.453592} for time, value in pairs],
            "meta": {"units": "lbs_co2_per_mwh"},
        },
        "uk.json": {
            "data": [
                {"from": iso(time), "to": "", "intensity": {"forecast": value, "actual": None}} for time, value in pairs
            ]
        },
    }
    for name, content in kinds.items():
        (tmp_path / name).write_text(json.dumps(content))
    for name in ("rows.csv", *kinds):
        found = read(tmp_path / name)
        assert [each.begin for each in found] == times, name
        assert [each.end for each in found] == [*times[1:], times[-1] + 1800], name
        assert [each.value for each in found] == pytest.approx(grams), name


class Provider(BaseHTTPRequestHandler):
    """Answers as the providers' documentation has it, and only to who shows the right token."""

    def do_GET(self) -> None:
        basic = f"Basic {base64.b64encode(b'me:word').decode()}"
        rows = [("2027-01-15T08:00:00Z", 150), ("2027-01-15T09:00:00Z", 90)]
        wanted = {
            "/maps": ("auth-token", "right"),
            "/watt/login": ("Authorization", basic),
            "/watt/v3": ("Authorization", "Bearer t"),
        }
        for path, (header, value) in wanted.items():
            if self.path.startswith(path) and self.headers[header] != value:
                return self.send_error(401, "Unauthorized")
        if self.path == "/maps/carbon-intensity/forecast?zone=FR":
            return self._say({"forecast": [{"datetime": time, "carbonIntensity": value} for time, value in rows]})
        if self.path == "/watt/login":
            return self._say({"token": "t"})
        if self.path.startswith("/watt/v3/forecast?region=FR&signal_type=co2_moer"):
            data = [{"point_time": time, "value": value / 0.453592} for time, value in rows]
            return self._say({"data": data, "meta": {"units": "lbs_co2_per_mwh"}})
        if self.path == "/uk/intensity/2027-01-15T08:00Z/fw48h":
            return self._say({"data": [{"from": time, "intensity": {"forecast": value}} for time, value in rows]})
        return self.send_error(404, "Not Found")

    def _say(self, content: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def provider() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_providers_are_asked_with_their_tokens(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv("ELECTRICITYMAPS_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="needs ELECTRICITYMAPS_TOKEN in the environment"):
        ask("electricity_maps", "FR", now, f"{provider}/maps")
    for variable, value in (("ELECTRICITYMAPS_TOKEN", "wrong"), ("WATTTIME_USER", "me"), ("WATTTIME_PASSWORD", "word")):
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match="401 Unauthorized"):
        ask("electricity_maps", "FR", now, f"{provider}/maps")
    monkeypatch.setenv("ELECTRICITYMAPS_TOKEN", "right")
    with pytest.raises(ConfigError, match=r"needs start\.zone"):
        ask("watttime", None, now, f"{provider}/watt")
    for name, path in (("electricity_maps", "maps"), ("watttime", "watt"), ("uk", "uk")):
        found = ask(name, "FR", now, f"{provider}/{path}")
        assert [each.value for each in found] == pytest.approx([150, 90]), name
        assert found[0].begin == now
    with pytest.raises(ConfigError, match="404 Not Found"):
        ask("uk", None, now, f"{provider}/nowhere")


@pytest.mark.network
def test_a_provider_that_wants_no_token_answers() -> None:
    found = ask("uk", None, time.time())
    assert len(found) > 80
    assert all(0 <= each.value < 1000 for each in found)


def test_a_run_begins_in_its_window(launch: Launch, tmp_path: Path) -> None:
    now = time.time()
    clean = now + 12
    forecast = write(tmp_path / "f.csv", [(now - HOUR, 400.0), (clean, 100.0), (now + 2 * HOUR, 400.0)])
    words = [*WORDS, f"start.forecast={forecast}", "start.duration=10m", "start.deadline=1h"]
    done = launch(*words, "hydra.run.dir=run", env=ENV)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("start: begins ") == 1
    assert (tmp_path / "run" / "config.yaml").stat().st_mtime >= clean - 0.1
    again = launch("resume=run", "training.max_steps=4", env=ENV)
    assert again.returncode == 0, again.stderr
    assert "start:" not in again.stdout, "what has begun goes on at once"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
@pytest.mark.parametrize("many", [False, True])
def test_a_wait_that_is_ended_leaves_nothing(
    number: signal.Signals, status: int, many: bool, launch: Launch, tmp_path: Path
) -> None:
    now = time.time()
    forecast = write(tmp_path / "f.csv", [(now - HOUR, 400.0), (now + 5 * HOUR, 100.0), (now + 9 * HOUR, 400.0)])
    sweep = ["-m", "seed=1,2"] if many else []
    running = launch.start(
        *sweep, *WORDS, f"start.forecast={forecast}", "start.duration=10m", "start.deadline=8h", env=ENV
    )
    end = time.monotonic() + 120
    while not running.stdout.exists() or "the windows before the deadline" not in running.stdout.read_text():
        assert not running.done(), running.wait().stderr
        assert time.monotonic() < end
        time.sleep(0.05)
    running.send(number)
    done = running.wait()
    assert done.returncode == status, done.stderr
    assert "the same command waits again" in done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs").exists()
    assert not (tmp_path / "multirun").exists()


def test_refused(launch: Launch, tmp_path: Path) -> None:
    now = time.time()
    short = write(tmp_path / "short.csv", [(now - HOUR, 400.0), (now - 1800, 100.0)])
    (tmp_path / "odd.csv").write_text("hour,grams\n1,2\n2,3\n")
    for words, message in (
        ([], "either start.forecast=<file> or start.provider=<name>"),
        ([f"start.forecast={short}", "start.provider=uk"], "either start.forecast"),
        (["start.forecast=none.csv", "start.duration=1h"], "none.csv: No such file"),
        ([f"start.forecast={short}"], "how long does the run take?"),
        ([f"start.forecast={short}", "start.duration=1h"], "holds no window of 1h00m"),
        ([f"start.forecast={short}", "start.duration=1h", "start.deadline=30m"], "ends after it"),
        (["start.forecast=odd.csv", "start.duration=1h"], "no time in"),
        (["start.provider=nobody", "start.duration=1h"], "start.provider"),
        (["start.duration=soon", f"start.forecast={short}"], "expected seconds, or a duration"),
    ):
        done = launch(*WORDS, *words, "hydra.run.dir=run", env=ENV)
        assert done.returncode == 2, (words, done.stdout + done.stderr)
        assert message in done.stderr, words
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "run").exists()


def test_a_single_row_is_no_forecast() -> None:
    with pytest.raises(ValueError, match="at least two rows"):
        stretches([{"time": 0, "value": 1}])
