"""`ragqa chat` as a user meets it: piped questions, and a real terminal with Ctrl-C and Ctrl-D."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ragqa.cli.chat import _converse
from tests.conftest import Run

QUESTION = "How many grams of beans for one litre of water?"

# A terminal of its own, as a shell gives it, and a model that is slow enough at first to be stopped.
SLOW = """
import fcntl, sys, termios, time
import llm
from llm.plugins import pm

fcntl.ioctl(0, termios.TIOCSCTTY, 0)

calls = []

class Slow(llm.Model):
    model_id = "slow"
    can_stream = True

    def execute(self, prompt, stream, response, conversation):
        calls.append(prompt)
        yield "Use 60 grams. More"
        if len(calls) == 1:
            time.sleep(120)
        yield " is done [1]."

class Plugin:
    @llm.hookimpl
    def register_models(self, register):
        register(Slow())

pm.register(Plugin(), name="slow")
sys.argv[0] = "ragqa"
from ragqa.cli.app import main
main()
"""


def test_piped_questions_read_as_a_conversation(ragqa: Run, db: Path) -> None:
    questions = [
        QUESTION,
        "/sources",
        "and for how long is green tea steeped, please?",
        "",
        "why \x1b[31mis it so\udcff?".encode("utf-8", "replace").decode(),
        "/quit",
        "never asked",
    ]
    talk = ragqa("chat", "--db", db, "-m", "extractive", input="\n".join(questions))
    assert talk.returncode == 0, talk.stderr
    asked = re.findall(r"^> (.*)$", talk.stdout, re.M)
    assert asked[:3] == [QUESTION, "/sources", questions[2]]
    assert asked[-1] == "/quit"
    assert "Use 60 grams of beans for one litre of water. [1]" in talk.stdout
    assert "[1] Making coffee (coffee.md:5, cited)" in talk.stdout
    assert "\x1b" not in talk.stdout
    assert talk.stderr.splitlines()[0] == f"Searched for: {questions[2]} (grams beans litre water)"
    assert "/help" not in talk.stdout


def test_what_fails_is_a_sentence_and_the_chat_goes_on(ragqa: Run, db: Path) -> None:
    lines = [
        "/explain",
        "/nope",
        "/model nope",
        "/config nope",
        "/rewrite perhaps",
        "x" * 10_001,
        "/model extractive",
        "/config fts",
        "/rewrite off",
        "/help",
        "/etc/hosts and its beans: how many grams?",
    ]
    talk = ragqa("chat", "--db", db, input="\n".join(lines))
    assert talk.returncode == 1
    said = talk.stderr.splitlines()
    assert [line.partition(":")[0] for line in said] == ["Error"] * 6
    for line, what in zip(
        said,
        [
            "Nothing has been answered",
            "command '/nope'. Known: /config",
            "model 'nope'",
            "config 'nope'",
            "on or off",
        ],
        strict=False,
    ):
        assert what in line
    assert "Config fts, model extractive" in talk.stdout
    assert "/new " in talk.stdout
    assert "Use 60 grams of beans" in talk.stdout


def test_no_error_shows_a_key(ragqa: Run, db: Path) -> None:
    key = "sk-local-0123456789"
    talk = ragqa("chat", "--db", db, "-c", "fts", input=f"/model {key}\n", env={"LOCAL_API_KEY": key})
    assert "no model '[key removed]'" in talk.stderr
    assert key not in talk.stderr


def test_a_question_that_memory_is_too_small_for_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def respond(*args: object) -> bool:
        raise MemoryError

    monkeypatch.setattr("ragqa.cli.chat._respond", respond)
    monkeypatch.setattr("ragqa.cli.chat._piped", lambda: iter(["a question"]))
    assert not _converse(None, False)  # type: ignore[arg-type]
    assert capsys.readouterr().err == "Error: There is not enough memory for this.\n"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--prompt", "nope"], "no prompt 'nope'"),
        (["--continue"], "nothing is logged yet"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_read(
    ragqa: Run, db: Path, options: list[str], sentence: str
) -> None:
    talk = ragqa("chat", "--db", db, *options, input=QUESTION)
    assert (talk.returncode, talk.stdout) == (2, "")
    assert sentence in talk.stderr


def test_llm_shows_the_conversation_and_it_can_be_continued(ragqa: Run, db: Path) -> None:
    options = ["--db", db, "-c", "fts", "-m", "extractive"]
    ragqa("chat", *options, input=f"{QUESTION}\nand what is its ratio?\n")
    went_on = ragqa("chat", *options, "--continue", input="why?")
    assert went_on.returncode == 0, went_on.stderr
    assert went_on.stderr == "Searched for: why? (grams beans litre water ratio)\n"
    shown = subprocess.run(
        [sys.executable, "-m", "llm", "logs", "list", "-c", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    turns = json.loads(shown.stdout)
    assert len(turns) == 3
    assert len({turn["conversation_id"] for turn in turns}) == 1
    assert turns[-1]["prompt"].rstrip().endswith("Question: why? (grams beans litre water ratio)")
    assert "> Q: " + QUESTION in turns[-1]["prompt"]


# -- a terminal -----------------------------------------------------------------------------------


class Terminal:
    """A process on the other side of a pseudo-terminal."""

    def __init__(self, *args: str) -> None:
        self.side, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SLOW, *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb"},
        )
        os.close(theirs)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.side, text.encode())

    def see(self, expected: str) -> str:
        """Return what is shown until `expected` has been, from where the last call left off."""
        end = time.monotonic() + 60
        while expected not in self.shown and time.monotonic() < end:
            if select.select([self.side], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self.side, 4096).decode("utf-8", "replace")
                except OSError:
                    break
        before, found, self.shown = self.shown.partition(expected)
        assert found, f"{expected!r} was not shown, but {before!r}"
        return before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.side)


@pytest.fixture
def terminal(db: Path) -> Iterator[Terminal]:
    opened = Terminal("chat", "--db", str(db), "-c", "fts", "-m", "slow", "--no-log")
    yield opened
    opened.close()


def test_ctrl_c_stops_the_answer_and_ctrl_d_leaves(terminal: Terminal) -> None:
    before = termios.tcgetattr(terminal.side)[3] & (termios.ECHO | termios.ICANON)
    assert "Config fts, model slow. /help lists commands" in terminal.see("> ")
    terminal.type(f"{QUESTION}\n")
    terminal.see("Use 60 grams.")
    terminal.type("\x03")
    terminal.see("Stopped.")
    terminal.see("> ")
    terminal.type("and is there sun for tomatoes in the garden?\n")
    answer = terminal.see("Sources")
    assert "More is done" in answer
    terminal.see("> ")
    terminal.type("\x04")
    assert terminal.process.wait(60) == 0
    # The terminal is left as it was found: it echoes, and reads whole lines.
    assert termios.tcgetattr(terminal.side)[3] & (termios.ECHO | termios.ICANON) == before


def test_ctrl_c_at_the_prompt_leaves_with_130(terminal: Terminal) -> None:
    terminal.see("> ")
    terminal.type("half a quest")
    terminal.see("half a quest")
    # Python misses a signal that comes just before it waits for a key; a person types it again.
    end = time.monotonic() + 60
    while terminal.process.poll() is None and time.monotonic() < end:
        terminal.type("\x03")
        with suppress(subprocess.TimeoutExpired):
            terminal.process.wait(1)
    assert terminal.process.returncode == 130
    assert "Traceback" not in terminal.shown
