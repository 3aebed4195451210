"""The pages in a real browser: `.ci/run` installs Chromium and runs these with `-m browser`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launcher.report import compare
from launcher.report.run import write
from tests.fits import fit
from tests.harness import Warm

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr", "--allow-file-access-from-files",
)  # fmt: skip

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Path:
    place = tmp_path_factory.mktemp("browser")
    for name, rate in (("a", "1e-3"), ("b", "3e-3")):
        fit(
            place / name,
            "training.max_epochs=2",
            "training.log_every=10",
            "monitor=[step_time]",
            f"optimizer.lr={rate}",
        )
        write(place / name)
    compare.write(compare.look([place / "a", place / "b"]), place / "comparison.html")
    sweep = warm(
        "-m", "search=halving", "model=mlp", "tracker=[]", "training.max_epochs=4", "hydra.sweeper.n_trials=6",
        "optimizer.lr=tag(log,interval(1e-3,3e-2))", "model.width=16,32", "hydra.sweeper.pruner.reduction_factor=2",
        "hydra.sweeper.study_name=sweep", cwd=place,
    )  # fmt: skip
    assert sweep.returncode == 0, sweep.stderr
    return place


def chromium(page: Path, profile: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Open a page; what it says to the console comes on stderr."""
    browser = (
        shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or "chromium"
    )
    command = [browser, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr
    return done


@pytest.mark.parametrize("name", ["a/report.html", "comparison.html"])
def test_a_browser_reads_the_page_without_a_word_to_its_console(pages: Path, tmp_path: Path, name: str) -> None:
    page = chromium(pages / name, tmp_path, "--dump-dom").stdout
    results = [json.loads((pages / run / "result.json").read_text()) for run in ("a", "b")]
    text = re.sub(r"<[^>]+>", " ", page)
    shown = results if name == "comparison.html" else results[:1]
    for result in shown:
        assert f"{result['objective']['value']:.4f}" in text
    assert page.count("<polyline") >= 4


def test_a_sweeps_drawings_are_drawn_without_the_network(pages: Path, tmp_path: Path) -> None:
    page = chromium(pages / "multirun" / "sweep" / "report.html", tmp_path, "--dump-dom").stdout
    drawn = dict(re.findall(r"<h3>([^<]*)</h3>(.*?)</script>", page, re.DOTALL))
    assert {"History of val/accuracy", "Rungs: val/accuracy on the way", "Slots over time"} <= set(drawn)
    assert all('class="main-svg"' in drawing for drawing in drawn.values())
    bars = re.findall(r'class="point"', drawn["Slots over time"])
    assert len(bars) >= 6, "a bar for each trial"
    assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="http', page)


@pytest.mark.parametrize("name", ["a", "multirun/sweep"])
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_the_page_is_drawn_in_light_and_dark_and_fits_a_phone(
    pages: Path, tmp_path: Path, name: str, scheme: str, width: int
) -> None:
    picture = tmp_path / "page.png"
    flags = [f"--window-size={max(width, 500)},4000", f"--screenshot={picture}"]
    # A headless window is at least 500 wide: a narrow page is one that is framed.
    frame = tmp_path / "frame.html"
    source = (pages / name / "report.html").as_uri()
    frame.write_text(
        f'<body style="margin:0"><iframe style="border:0;width:{width}px;height:4000px" src="{source}"></iframe>'
    )
    if scheme == "dark":
        flags.append("--blink-settings=preferredColorScheme=0")
    chromium(frame, tmp_path / "profile", *flags)
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))[:, :width].astype(int)
    corner = pixels[2, 2].mean()
    assert corner > 240 if scheme == "light" else corner < 60
    blue = (pixels[..., 2] > pixels[..., 0] + 60) & (pixels[..., 2] > 150)
    assert blue.sum() > 500  # curves, bars and cells are drawn
    assert (pixels[:, -4:] == pixels[2, 2]).all()  # nothing runs over the page's margin
