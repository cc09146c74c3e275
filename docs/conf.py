"""The documentation: ``sphinx-build -W docs build/docs``."""

from __future__ import annotations

import ast
import difflib
import importlib.metadata
import inspect
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
os.environ.setdefault("KERAS_BACKEND", "torch")

project = "hpo-plugins"
author = copyright = "the hpo-plugins developers"
version = release = importlib.metadata.version("hpo-plugins")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_click",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
suppress_warnings = ["myst.header", "myst.xref_missing", "ref.python"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"hpo-plugins {release}"
html_theme_options = {"source_repository": "https://github.com/hpo-plugins/hpo-plugins/", "source_branch": "main",
                      "source_directory": "docs/"}  # fmt: skip
html_static_path = ["static"]
html_css_files = ["front.css"]
copybutton_exclude = ".linenos, .gp"


def messages() -> dict[str, list[tuple[str, str]]]:
    """Return the messages of all errors that the code raises, with their modules, by class of error.

    ``…`` stands for the parts that depend on the call.
    """
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for folder in ("hpo_plugins", "integrations"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                    text = _text(node.args[0])
                    if text and " " in text:
                        found[node.func.id].append((text, path.relative_to(ROOT).as_posix()))
    return found


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return ""


def error_guide() -> str:
    """Return the guide to all errors as Markdown."""
    from hpo_plugins import errors

    lines = []
    known = messages()
    for name, cls in vars(errors).items():
        if not (inspect.isclass(cls) and issubclass(cls, errors.HpoError) and cls.__module__ == errors.__name__):
            continue
        lines += [f"## `{name}`", "", inspect.cleandoc(cls.__doc__ or "").split("\nArgs:")[0], ""]
        if known[name]:
            lines += [":::{dropdown} All its messages", ""]
            lines += [
                f"- {text.replace('<', '&lt;').replace('*', chr(92) + '*')} ({where})" for text, where in known[name]
            ]
            lines += ["", ":::", ""]
    return "\n".join(lines)


def write_error_guide(_: Sphinx) -> None:
    """Write the generated part of the error guide."""
    path = Path(__file__).parent / "_build" / "errors.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(error_guide(), encoding="utf-8")


def write_benchmarks(_: Sphinx) -> None:
    """Write the page of benchmarks; links to pages of results lead to the repository, which alone has them."""
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    text = text.replace("](results/", f"]({html_theme_options['source_repository']}blob/main/benchmarks/results/")
    text = text.replace("](../docs/", "](")
    (Path(__file__).parent / "_build" / "benchmarks.md").write_text(text, encoding="utf-8")


def directive(name: str, target: str, *options: str) -> str:
    """Return a directive of autodoc in Markdown."""
    return "\n".join(["```{eval-rst}", f".. {name}:: {target}", *(f"   :{option}:" for option in options), "```", ""])


def write_references(_: Sphinx) -> None:
    """Write the parts of the reference that are found: strategies and rules, criteria, integrations."""
    import hpo_plugins
    from hpo_plugins.study.termination import Criterion

    public = [getattr(hpo_plugins, name) for name in hpo_plugins.__all__]
    for page, kind in (("strategies", hpo_plugins.StoppingRule), ("criteria", Criterion)):
        found = [
            cls for cls in public if inspect.isclass(cls) and issubclass(cls, kind) and not inspect.isabstract(cls)
        ]
        text = "\n".join(directive("autoclass", f"hpo_plugins.{cls.__name__}", "no-members") for cls in found)
        (Path(__file__).parent / "_build" / f"{page}.md").write_text(text, encoding="utf-8")
    modules = sorted((ROOT / "integrations").glob("[!_]*.py"), key=lambda path: (not has_callback(path), path.stem))
    text = "\n".join(
        f"## {path.stem}\n\n"
        + directive("automodule", f"hpo_plugins.integrations.{path.stem}", "members", "no-undoc-members")
        for path in modules
    )
    (Path(__file__).parent / "_build" / "integrations.md").write_text(text, encoding="utf-8")


def write_differences(_: Sphinx) -> None:
    """Write how each example differs from its script without tuning."""
    for plain in (ROOT / "examples" / "plain").glob("*.py"):
        before, after = (path.read_text(encoding="utf-8") for path in (plain, ROOT / "examples" / plain.name))
        lines = difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True))
        (Path(__file__).parent / "_build" / f"{plain.stem}.diff").write_text("".join([*lines][2:]), encoding="utf-8")


def has_callback(path: Path) -> bool:
    """Return whether a module of an integration has a callback for training runs, and is no tracker."""
    return '"TrialCallback"' in path.read_text(encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the functions that write the generated pages."""
    app.connect("builder-inited", write_error_guide)
    app.connect("builder-inited", write_benchmarks)
    app.connect("builder-inited", write_references)
    app.connect("builder-inited", write_differences)
    return {"parallel_read_safe": True}
