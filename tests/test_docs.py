"""What the pages say is true: links lead somewhere, targets exist, and every command composes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.support.harness import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMAND = re.compile(r"(?:python -m launcher|(?<![\w/.-])launcher) ([^`\n#]+)")
MADE_UP = re.compile(r"[<>…]|\.\.\.|\b[A-Z]{3,}\b|\b(?:run|runs|resume|config-dir)[= ]|--shell-completion|-sc ")
"""A command with a blank to fill in, or about a folder that only its reader has."""
REFUSED = re.compile(r"^\$ python -m launcher (.*)\n((?:error: .*\n)+)", re.MULTILINE)
"""A command that is shown with its refusal."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(text: str) -> list[list[str]]:
    """The commands of a page that can be composed as they stand, in words, each once."""
    joined = re.sub(REFUSED, "", text).replace("\\\n", " ")
    found = [match[1].split(" 2>")[0].split("|")[0].rstrip(" .,;)") for match in COMMAND.finditer(joined)]
    words = [
        shlex.split(line) for line in dict.fromkeys(found) if not MADE_UP.search(line) and ("=" in line or "--" in line)
    ]
    return [line for line in words if all("=" in word or word.startswith("-") for word in line)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert [link for link in targets if link and "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    made = {"conf/optimizer/rmsprop.yaml", "conf/optimizer/signum.yaml", "conf/task/parity.yaml"}  # by a recipe
    made |= {"launcher/optim/signum.py", "tasks/parity.py", "conf/procedure/longest_for_best.yaml"}
    made |= {"launcher/procedures/longest_for_best.py"}
    named = set(re.findall(r"`((?:launcher|tasks|conf|tests|docs|benchmarks|\.ci)/[\w./-]*\w)`", page.read_text()))
    assert [path for path in sorted(named - made) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("group", "page"),
    [
        ("optimizer", "optimizers"),
        ("scheduler", "schedules"),
        ("regularization", "regularization"),
        ("augment", "augment"),
        ("validation", "validation"),
        ("stopping", "stopping"),
    ],
)
def test_every_entry_has_its_section(group: str, page: str) -> None:
    """Under its name, or that in words: "Label smoothing"."""
    entries = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / f"{page}.md").read_text(), re.MULTILINE)
    assert sorted(entries - {heading.lower().replace(" ", "_") for heading in headings}) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_targets_of_make_exist(page: Path) -> None:
    rules = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)\b", page.read_text(), re.MULTILINE))
    assert sorted(named - rules) == []


def one_trial(words: list[str]) -> list[str]:
    """A sweep's command as that of its first trial; the search itself has to be an option that exists."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    single = []
    for word in words:
        if word in ("-m", "--multirun") or word.startswith("hydra.sweeper."):
            continue
        if word.startswith("search="):
            assert (ROOT / "conf" / "search" / f"{word.partition('=')[2]}.yaml").is_file(), word
            continue
        parsed = OverridesParser.create().parse_override(word)
        if parsed.is_choice_sweep():
            word = f"{word.partition('=')[0]}={next(parsed.sweep_string_iterator())}"
        elif parsed.is_interval_sweep():
            word = f"{word.partition('=')[0]}={parsed.value().start}"  # type: ignore[union-attr]  # an IntervalSweep
        single.append(word)
    return single


def composes(launch: Launch, words: list[str], env: dict[str, str] | None = None) -> None:
    """A command shows its config, or what it shows anyway, without an error."""
    single = one_trial(words) if {"-m", "--multirun"} & set(words) else words
    shown = [] if any(word.startswith("--") for word in single) else ["--cfg", "job"]
    outcome = launch(*single, *shown, env=env)
    assert outcome.returncode == 0, f"{shlex.join(words)}\n{outcome.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=name)
def test_commands_compose(page: Path, launch: Launch) -> None:
    for words in commands(page.read_text()):
        composes(launch, words)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_refusals_are_those_that_are_shown(page: Path, launch: Launch) -> None:
    shown = [found for found in REFUSED.findall(page.read_text()) if not MADE_UP.search(found[0])]
    said = [launch(*shlex.split(command)) for command, _ in shown]
    assert [outcome.stderr for outcome in said] == [message for _, message in shown]
    assert {outcome.returncode for outcome in said} <= {2}


def test_a_wrong_command_would_be_found(launch: Launch) -> None:
    text = "Try `python -m launcher optimizer=adamv seed=1` or\n    launcher -m seed=1,2 # twice\n`make run`, launcher/x.py"
    assert commands(text) == [["optimizer=adamv", "seed=1"], ["-m", "seed=1,2"]]
    with pytest.raises(AssertionError, match="Did you mean 'adam' or 'adamw'"):
        composes(launch, commands(text)[0])
    composes(launch, commands(text)[1])
    assert one_trial(["-m", "optimizer=adamw,sgd", "optimizer.lr=interval(0.1,1)"]) == [
        "optimizer=adamw",
        "optimizer.lr=0.1",
    ]
