"""Every command explains itself, and the reference in docs/ says the same."""

from __future__ import annotations

import ast
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ragqa.cli import show
from ragqa.cli.manual import describe
from ragqa.cli.reference import pages, reference
from tests.conftest import Run

CLI = Path(__file__).parents[2] / "ragqa" / "cli"
REFERENCE = Path(__file__).parents[2] / "docs" / "commands.md"
PAGES = {ctx.command_path: (ctx, command) for ctx, command in pages()}
EXAMPLES = [
    (path, example) for path, (_, command) in PAGES.items() for example in describe(command.help).examples
]
# A summary longer than this does not fit beside the name of its command.
LONGEST_SUMMARY = 90


@pytest.mark.parametrize("path", PAGES)
def test_a_command_has_a_summary_an_example_and_help_for_every_parameter(path: str) -> None:
    ctx, command = PAGES[path]
    described = describe(command.help)
    assert described.summary.endswith(".")
    assert len(described.summary) <= LONGEST_SUMMARY
    assert described.examples
    for param in command.get_params(ctx):
        assert param.help, param.name
        assert param.help.endswith("."), param.name
    assert len({name for param in command.get_params(ctx) for name in param.opts}) == sum(
        len(param.opts) for param in command.get_params(ctx)
    )


@pytest.mark.parametrize(("path", "example"), EXAMPLES)
def test_an_example_is_of_its_command_and_is_understood(
    path: str, example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"why?"), isatty=lambda: False))
    # An example with -q would else keep this process quiet, and the tests after this one with it.
    monkeypatch.setattr(show, "_voice", show._Voice())
    words = shlex.split(example)
    words = words[words.index("ragqa") + 1 :]
    words = words[: next((place for place, word in enumerate(words) if word in "|<>"), len(words))]
    ctx, command = PAGES["ragqa"]
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
        ctx = command.make_context(name, words, parent=ctx)
    # At the top there are examples of the commands below.
    assert path == "ragqa" or ctx.command_path.startswith(path)
    ctx.close()


def test_the_help_of_ragqa_tells_exit_codes_and_the_environment(ragqa: Run) -> None:
    told = ragqa("--help").stdout
    for told_of in ("Exit codes:", "130 ", "RAGQA_DB", "RAGQA_RUNS", "LLM_USER_PATH", "NO_COLOR", "PAGER"):
        assert told_of in told
    assert "Exit codes:" not in ragqa("search", "--help").stdout
    # The commands stand under headings, with whole summaries.
    assert (
        told.index("Documents:") < told.index("  ingest ") < told.index("Questions:") < told.index("  ask ")
    )


def test_help_is_not_wider_than_the_terminal_and_examples_are_whole(ragqa: Run) -> None:
    told = ragqa("eval", "run", "-h", env={"COLUMNS": "60"}).stdout.splitlines()
    place = told.index("Examples:")
    assert max(map(len, told[:place])) <= 60
    assert "  ragqa eval run questions.jsonl -c fts -c default -m extractive -m gpt-4o-mini" in told[place:]


def test_a_docstring_is_taken_apart() -> None:
    described = describe("Do it.\n\nMore of\nit.\n\nExample: ragqa a\nExample: ragqa b | llm\n")
    assert described.summary == "Do it."
    assert described.paragraphs == ("More of it.",)
    assert described.examples == ("ragqa a", "ragqa b | llm")


def test_an_option_that_means_the_same_is_defined_once() -> None:
    """In cli/options.py, or in the module whose commands alone have it."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in CLI.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "typer.Option":
                continue
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            helps = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "help"]
            for name in names if helps else ():
                found.setdefault((str(name), helps[0]), []).append(path.name)
    assert len(found) > 60
    assert {name: where for name, where in found.items() if len(where) > 1} == {}


def test_the_reference_is_what_help_says() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference(), "docs/commands.md is old: run make docs"


def test_the_reference_is_the_same_everywhere(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('fastapi', 'uvicorn', 'starlette', 'mcp', 'llama_cpp')))\n"
        "sys.argv = ['reference', 'written.md']\n"
        "from ragqa.cli.reference import main\n"
        "main()\n"
        "assert not {'torch', 'llm', 'numpy'} & sys.modules.keys()\n"
    )
    odd = {"COLUMNS": "40", "TERM": "dumb", "HOME": "/nowhere", "FORCE_COLOR": "1", "RAGQA_DB": "mine.db"}
    odd |= {"NO_COLOR": "1", "RAGQA_TOKEN": "secret", "LANG": "C"}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env={**os.environ, **odd})
    assert (tmp_path / "written.md").read_text(encoding="utf-8") == reference()


def test_the_reference_is_printed_without_a_file(tmp_path: Path) -> None:
    command: list[Any] = [sys.executable, "-m", "ragqa.cli.reference"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert printed == reference()
