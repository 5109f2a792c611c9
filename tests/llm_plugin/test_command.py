"""`llm rag` is `ragqa`: the same commands, help, errors and exit codes, and no cost until it is called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from llm.cli import cli

from tests.conftest import Run

QUESTION = "How many grams of beans for one litre of water?"


def rag(*args: str | Path) -> Any:
    return CliRunner().invoke(cli, ["rag", *map(str, args)])


def llm_process(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llm", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_search_is_what_ragqa_finds(db: Path, ragqa: Run) -> None:
    options = ["search", QUESTION, "-c", "fts", "-k", "2", "--json", "--db", db]
    ours, theirs = llm_process("rag", *options), ragqa(*options)
    assert ours.returncode == theirs.returncode == 0
    assert json.loads(ours.stdout)["hits"] == json.loads(theirs.stdout)["hits"] != []


def test_a_real_process_says_an_error_in_a_sentence(db: Path, ragqa: Run) -> None:
    options = ["search", QUESTION, "-c", "nope", "--db", db]
    ours, theirs = llm_process("rag", *options), ragqa(*options)
    assert (ours.returncode, ours.stdout, ours.stderr) == (2, "", theirs.stderr)
    assert "There is no config 'nope'." in ours.stderr
    debug = llm_process("rag", "--debug", *options)
    assert (debug.returncode, "Traceback" in debug.stderr) == (2, True)


def test_ask_takes_options_as_pairs_and_logs(db: Path, fake_models: Any) -> None:
    result = rag("ask", QUESTION, "-m", "fake", "-o", "temperature", "0.5", "--db", db, "-c", "fts")
    assert result.exit_code == 0, result.output
    assert "Use 60 grams of beans [1]." in result.stdout
    assert fake_models.answering.prompts[0].options.temperature == 0.5
    logged = json.loads(CliRunner().invoke(cli, ["logs", "--json"]).stdout)
    assert [entry["model"] for entry in logged] == ["fake"]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ((), 2, "Usage: llm rag [OPTIONS] COMMAND [ARGS]..."),
        (("--help",), 0, "Usage: llm rag [OPTIONS] COMMAND [ARGS]..."),
        (("ask", "-h"), 0, "Usage: llm rag ask"),
        (("--version",), 0, "ragqa, version"),
        (("bogus",), 2, "No such command 'bogus'"),
        (("search",), 2, "Missing argument"),
        (("search", "x", "--bogus"), 2, "No such option"),
        (("search", "tea", "--db", "nowhere.db"), 1, "There is no corpus at nowhere.db"),
        (("search", "-c", "fts", "--", "--beans"), 0, "coffee.md"),
    ],
)
def test_help_and_errors(
    args: tuple[str, ...], code: int, said: str, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGQA_DB", str(db))
    result = rag(*args)
    assert (result.exit_code, said in " ".join(result.output.split())) == (code, True), result.output


def test_llm_lists_it() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert "rag  " in result.stdout
    assert "Ask questions of your own documents" in result.stdout


def test_llm_starts_with_nothing_more_than_a_registration() -> None:
    code = (
        "import sys, llm.cli\n"
        "before = set(sys.modules)\n"
        "import ragqa.llm_plugin\n"
        "llm.cli.pm.register(ragqa.llm_plugin)\n"
        "llm.cli.pm.hook.register_commands(cli=llm.cli.cli)\n"
        "assert 'rag' in llm.cli.cli.commands\n"
        "print(*sorted(sys.modules.keys() - before))"
    )
    # Without the plugins that are installed, to be the first to import this one.
    env = {**os.environ, "LLM_LOAD_PLUGINS": ""}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert found.stdout.split() == ["ragqa", "ragqa.llm_plugin", "ragqa.llm_plugin.command"], found.stderr
