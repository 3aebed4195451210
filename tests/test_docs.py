"""What the pages say is true: links and anchors lead somewhere, targets exist, and every command composes."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.support.harness import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
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


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> list[str]:
    """What GitHub, and the site, call the headings of a page; a heading that comes again has a number."""
    slugs: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        slugs.append(f"{slug}-{slugs.count(slug)}" if slug in slugs else slug)
    return slugs


def lost(page: Path) -> list[str]:
    """The links of a page to files that are not there, and to headings that they do not have."""
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())) if "://" not in link]
    wrong = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert lost(page) == []


def test_a_link_that_leads_nowhere_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# The loss: `a` sum\n## x\n## x\n```\n# no heading\n```\n")
    page = tmp_path / "a.md"
    page.write_text(
        "# A\n[1](b.md#the-loss-a-sum) [2](b.md#x-1) [3](b.md#no-heading) [4](c.md) [5](#a) [6](#b) [7](b.md#x-2)"
    )
    assert lost(page) == ["b.md#no-heading", "c.md", "#b", "b.md#x-2"]


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    site = runpy.run_path(str(ROOT / "docs" / "build_site.py"))
    assert site["orphans"]() == []
    assert site["named"]()[:2] == ["index.md", "start.md"]


def test_what_a_page_fetches_from_outside_would_be_found() -> None:
    loaded = runpy.run_path(str(ROOT / "docs" / "build_site.py"))["LOADED"]
    html = """<link rel="stylesheet" href="https://a/x.css"><a href="https://b">b</a><script src=//c/x.js></script>
    <img src="images/a.svg"><script src="assets/x.js"></script>"""
    assert loaded.findall(html) == ["https://a/x.css", "//c/x.js"]


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_a_page_begins_with_the_command_that_people_came_for(page: Path) -> None:
    lines = page.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("```"))
    assert first <= 8, "a sentence or two, then the command"
    assert not any(line.startswith("## ") for line in lines[:first])
    assert re.match(r"(\$ )?(python -m launcher|python benchmarks/|make |from launcher import )", lines[first + 1])


def rows(text: str) -> list[list[str]]:
    """The rows of a page's tables, without their heads, as cells."""
    tables = re.findall(r"^\|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for table in tables for line in table.splitlines()]


def test_every_wish_has_its_command() -> None:
    wishes = rows((ROOT / "docs" / "i_want_to.md").read_text())
    assert len(wishes) > 40
    kinds = re.compile(r"`(python -m launcher|tensorboard|launcher\.\w)|\]\(|the same command")
    assert [wish for wish, command, *_ in wishes if not kinds.search(command)] == []


def test_the_cheat_sheet_has_every_option_of_every_group() -> None:
    cells = {row[0]: row[1] for row in rows((ROOT / "docs" / "cheat_sheet.md").read_text())}
    missing = {}
    for folder in sorted((ROOT / "conf").iterdir()):
        entries = {path.stem for path in folder.glob("*.yaml")} if folder.is_dir() else set()
        shown = cells.get(f"`{folder.name}`", "") + cells.get(f"`[{folder.name}]`", "")
        if entries - set(re.findall(r"`(\w+)`", shown)):
            missing[folder.name] = sorted(entries - set(re.findall(r"`(\w+)`", shown)))
    # Chosen by other choices (a fit's layout, Hydra's own), or explained where they are used.
    assert set(missing) <= {"procedure", "hydra", "schedule", "start"}, missing


TASKS = sorted(path.stem for path in (ROOT / "conf" / "task").glob("*.yaml"))


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)
def test_a_table_of_tasks_has_them_all(page: Path) -> None:
    for table in re.findall(r"^(?:\|.*\n)+", page.read_text(), re.MULTILINE):
        named = {task for task in TASKS if re.search(rf"`(?:task=)?{task}`", table)}
        if len(named) >= 4:
            assert sorted(named) == TASKS, table


def test_the_messages_that_are_explained_are_those_that_are_printed() -> None:
    """Each in backticks in the first column, with … for what differs: its words stand in the source so."""
    source = [(ROOT / "Makefile").read_text()]
    for path in [*(ROOT / "launcher").rglob("*.py"), *(ROOT / "tasks").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                source.append(node.value)
    messages = [
        message
        for row in rows((ROOT / "docs" / "troubleshooting.md").read_text())
        for message in re.findall(r"`([^`]+)`", row[0])
    ]
    assert len(messages) > 20
    pieces = [(message, piece.strip(" :.")) for message in messages for piece in message.split("…")]
    assert [message for message, piece in pieces if not any(piece in text for text in source)] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    made = {"conf/optimizer/rmsprop.yaml", "conf/optimizer/signum.yaml", "conf/task/parity.yaml"}  # by a recipe
    made |= {"launcher/optim/signum.py", "tasks/parity.py", "conf/finetune/freeze.yaml", "launcher/actions/NAME.py"}
    made |= {"conf/procedure/longest_for_best.yaml", "launcher/procedures/longest_for_best.py"}
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
