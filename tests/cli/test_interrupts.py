"""Ctrl-C at any moment of any command, and models that hang or fail: exit codes, and what stays on screen."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run

QUESTION = "How many grams of beans for one litre of water?"

# Interrupts itself as a library is about to be imported, which `at` names.
AT_IMPORT = """
import os, signal, sys
at, *sys.argv[1:] = sys.argv[1:]

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == at:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
from ragqa.cli.main import main
main()
"""

# A model that says a sentence and then hangs or fails, in a ragqa of little patience.
HANGING = """
import sys, time
import llm
from llm.plugins import pm

class Hanging(llm.Model):
    model_id, can_stream = "hanging", True

    def execute(self, *args, **kwargs):
        yield "Use 60 grams of beans for one litre of water [1]. "
        yield "And then "
        print("it hangs", file=sys.stderr, flush=True)
        time.sleep(100)

class Failing(Hanging):
    model_id = "failing"

    def execute(self, *args, **kwargs):
        yield "Use "
        raise RuntimeError("the server hung up")

class Plugin:
    __name__ = "Hanging"

    @llm.hookimpl
    def register_models(self, register):
        register(Hanging())
        register(Failing())

pm.register(Plugin(), name="hanging")
from ragqa.cli.main import main
main()
"""


def start(program: str, *arguments: str, cwd: Path, **pipes: Any) -> subprocess.Popen[str]:
    # A shell starts what runs in the background with the signal ignored, and children inherit that.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **pipes,
        )
    finally:
        signal.signal(signal.SIGINT, inherited)


COMMANDS = {
    "search": (["search", QUESTION], ["typer", "ragqa.cli.app", "ragqa.config", "numpy", "onnxruntime"]),
    "ask": (["ask", QUESTION], ["llm", "ragqa.answer.generate"]),
    "ingest": (["ingest", "notes"], ["ragqa.sources", "ragqa.corpus.ingest"]),
    "index": (["index"], ["ragqa.operations.corpus"]),
    "remove": (["remove", "tea.html"], ["ragqa.corpus.database"]),
    "explain": (["explain", QUESTION], ["ragqa.explain.explanation"]),
    "chat": (["chat"], ["ragqa.service.chat"]),
    "tune": (["eval", "tune", "questions.jsonl", "-o", "best.yaml"], ["ragqa.evaluate.tune", "optuna"]),
}


@pytest.mark.parametrize(
    ("arguments", "at"),
    [(arguments, at) for arguments, places in COMMANDS.values() for at in places],
    ids=[f"{name} at {at}" for name, (_, places) in COMMANDS.items() for at in places],
)
def test_ctrl_c_while_libraries_are_imported_ends_with_130(
    db: Path, notes: Path, tmp_path: Path, arguments: list[str], at: str
) -> None:
    questions = [{"id": str(n), "question": f"{QUESTION} {n}", "relevant": ["coffee.md"]} for n in range(12)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    with start(AT_IMPORT, at, *arguments, "--db", str(db), cwd=tmp_path, stdin=subprocess.DEVNULL) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not (tmp_path / "best.yaml").exists()
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_library_that_calls_an_interruption_a_fault_of_its_own_ends_with_130(tmp_path: Path) -> None:
    program = (
        "from ragqa.cli.run import run\n"
        "def fail():\n"
        "    try:\n"
        "        raise KeyboardInterrupt\n"
        "    except BaseException:\n"
        "        raise ImportError('the C extensions cannot be imported')\n"
        "run(fail)"
    )
    with start(program, cwd=tmp_path) as process:
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_ctrl_c_while_a_model_hangs_ends_with_130(db: Path, tmp_path: Path, command: str) -> None:
    arguments = [command, "--db", str(db), "-c", "fts", "-m", "hanging", "--no-log"]
    if command == "ask":
        arguments.insert(1, QUESTION)
    with start(HANGING, *arguments, cwd=tmp_path, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(QUESTION + "\n")
        process.stdin.flush()
        assert process.stderr.readline() == "it hangs\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        shown, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "Use 60 grams of beans" in shown
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("hanging", "The model hanging fell silent: nothing came for 0.3 seconds."),
        ("failing", "The model failing failed: the server hung up"),
    ],
)
def test_a_model_that_fails_leaves_the_passages_on_screen(
    db: Path, tmp_path: Path, model: str, reason: str
) -> None:
    config = tmp_path / "hasty.yaml"
    config.write_text("retrieve: {type: fts}\ntimeout: {silence_s: 0.3, total_s: 60}")
    arguments = ["ask", QUESTION, "--db", str(db), "-c", str(config), "-m", model]
    with start(HANGING, *arguments, cwd=tmp_path) as process:
        shown, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == f"Error: {reason}"
    assert "\nFound\n  1. Making coffee" in shown
    assert "60 grams of beans" in shown


def test_a_model_that_fails_leaves_no_half_json(db: Path, tmp_path: Path) -> None:
    arguments = ["ask", QUESTION, "--db", str(db), "-c", "fts", "-m", "failing", "--json"]
    with start(HANGING, *arguments, cwd=tmp_path) as process:
        shown, _ = process.communicate(timeout=60)
    assert (process.returncode, shown) == (1, "")


def test_onnxruntime_reports_nothing_to_its_makers(
    db: Path, isolated_user: Path, ragqa: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With either of them set it would report nothing whatever ragqa does.
    for name in ("CI", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    assert ragqa("search", QUESTION, "--db", db).returncode == 0
    assert not [path for path in isolated_user.rglob("*") if "onnxruntime" in str(path).lower()]
