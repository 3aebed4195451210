"""Prints the page of the public API, from the docstrings: `make docs-api` puts it into docs/api.md.

The source is read, not imported: what the page says depends on no library that is installed.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from pathlib import Path

import launcher

ROOT = Path(launcher.__file__).resolve().parent
SECTIONS = {
    "A task": ("Task", "Datasets", "Samples", "TensorSamples", "Batch", "Loss", "split_rows"),
    "An algorithm, or a monitor": ("Algorithm", "Monitor", "Run", "Part", "Progress"),
    "A tracker": ("Tracker",),
    "A loop": ("Loop",),
    "A procedure": ("Procedure", "Job", "Input"),
    "A way to be parallel": ("Parallel", "Communication"),
    "Targets and errors": ("factory", "LauncherError", "ConfigError", "TrainingError", "did_you_mean"),
}
HEAD = """\
# The Python API

```python
from launcher import Algorithm, Batch, ConfigError, Datasets, Loss, Monitor, Run, Task, TensorSamples
```

These are the names for code of your own: a task, an algorithm, a monitor, a tracker, a loop, a procedure, a way to be parallel. Each is
imported when it is asked for; `import launcher` alone imports no torch. What stands elsewhere in the package may move.
[CONTRIBUTING](../CONTRIBUTING.md#add-a-task) has a whole task and a whole optimizer; a model, an optimizer or a schedule is a
class of torch and needs no name of ours.

<!-- Written by `make docs-api` from the docstrings: change those. -->
"""


def text(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "").strip()


def item(signature: str, doc: str) -> str:
    """A line of a list, and under it what the docstring says."""
    indented = textwrap.indent(doc, "    ").strip()  # four: Python-Markdown takes fewer for the end of the list
    return f"- `{signature}`" + (f": {indented}" if indented else "")


def signature(node: ast.FunctionDef, of: str = "") -> str:
    """A call of the function as one would write it, with its types, without `self`."""
    arguments = ast.parse(ast.unparse(node)).body[0].args  # type: ignore[attr-defined]  # a FunctionDef
    if of and not any(ast.unparse(each) == "staticmethod" for each in node.decorator_list):
        arguments.args = arguments.args[1:]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None and not of.startswith("class ") else ""
    if any(ast.unparse(each) == "property" for each in node.decorator_list):
        return f"{node.name}{returns}"
    return f"{of.removeprefix('class ') if of.startswith('class ') else node.name}({ast.unparse(arguments)}){returns}"


class Module:
    """A source file, and what it says of its names."""

    def __init__(self, name: str) -> None:
        source = (ROOT / f"{name.replace('.', '/')}.py").read_text()
        self.name = f"launcher.{name}"
        self.lines = source.splitlines()
        self.tree = ast.parse(source)

    def documented(self, body: list[ast.stmt]) -> dict[int, str]:
        """By its place in `body`, what the string after an assignment says of it, or else the comment beside it."""
        docs = {}
        for place, node in enumerate(body):
            if not isinstance(node, ast.Assign | ast.AnnAssign):
                continue
            after = body[place + 1] if place + 1 < len(body) else None
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                docs[place] = text(str(after.value.value))
            else:
                docs[place] = self.lines[(node.end_lineno or 1) - 1].partition("  # ")[2]
        return docs

    def field(self, node: ast.stmt, doc: str) -> str | None:
        name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)  # type: ignore[attr-defined]
        return None if name.startswith("_") else item(ast.unparse(node), doc)

    def members(self, node: ast.ClassDef) -> list[str]:
        """The fields and methods of a class that are public and say something of themselves."""
        docs = self.documented(node.body)
        fields = [self.field(node.body[place], doc) for place, doc in docs.items()]
        methods = [
            item(signature(each, node.name), text(ast.get_docstring(each)))
            for each in node.body
            if isinstance(each, ast.FunctionDef) and not each.name.startswith("_") and ast.get_docstring(each)
        ]
        return [*(each for each in fields if each), *methods]

    def entry(self, name: str) -> str:
        """The section of a public name."""
        for place, node in enumerate(self.tree.body):
            if isinstance(node, ast.ClassDef) and node.name == name:
                inits = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
                head = signature(inits[0], f"class {name}") if inits else name
                above = [ast.unparse(base) for base in node.bases if ast.unparse(base) != "ABC"]
                bases = f", below {', '.join(above)}" if above else ""
                parts = [f"`{head}`{bases}, in `{self.name}`.", text(ast.get_docstring(node)), self.preamble(node)]
                return "\n\n".join(
                    [f"### {name}", *filter(None, parts), *filter(None, ["\n".join(self.members(node))])]
                )
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return f"### {name}\n\n`{signature(node)}`, in `{self.name}`.\n\n{text(ast.get_docstring(node))}"
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                doc = self.documented(self.tree.body)[place]
                return f"### {name}\n\n`{ast.unparse(node)}`, in `{self.name}`.\n\n{doc}"
        raise SystemExit(f"{self.name} has no {name}")

    def preamble(self, node: ast.ClassDef) -> str:
        """What the module says before its first public class, beyond what the module is."""
        first = next(
            each for each in self.tree.body if isinstance(each, ast.ClassDef) and not each.name.startswith("_")
        )
        return text(ast.get_docstring(self.tree)).partition("\n\n")[2] if node is first else ""


def page() -> str:
    """The whole page. Ends the program where a public name has no section, or a section no public name."""
    names = [name for section in SECTIONS.values() for name in section]
    if sorted(names) != launcher.__all__:
        raise SystemExit(f"docs/api.py and launcher.__all__ differ: {sorted(set(names) ^ set(launcher.__all__))}")
    parts = [HEAD.rstrip()]
    for heading, section in SECTIONS.items():
        parts += [f"## {heading}", *(Module(launcher._PUBLIC[name]).entry(name) for name in section)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
