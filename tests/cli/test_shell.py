"""Manners in the shell: questions from a pipe, --quiet, plain output where nobody looks, the pager."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ragqa.cli.paging import rows
from tests.cli.terminal import ESCAPE, RAGQA, Terminal, shown
from tests.conftest import Run

QUESTION = "how much coffee for a litre?"
ASKING = ["search", "context", "ask", "compare", "explain"]


# -- the question in a pipe ---------------------------------------------------------------------


@pytest.mark.parametrize("command", ASKING)
def test_a_question_is_read_from_standard_input(ragqa: Run, db: Path, command: str) -> None:
    configs = ("-c", "fts", "-c", "dense") if command == "compare" else ("-c", "fts")
    piped = ragqa(command, "-", "--db", db, "--json", *configs, input=f"{QUESTION}\n")
    assert piped.returncode == 0, piped.stderr
    said = json.loads(piped.stdout)
    assert said["question"] == QUESTION
    assert "coffee.md" in piped.stdout


def raw(db: Path, sent: bytes | None) -> subprocess.CompletedProcess[bytes]:
    """Send bytes to `search -`, or None for a standard input that is closed."""
    command = [*RAGQA, "search", "-", "-c", "fts", "--json", "--db", str(db)]
    if sent is None:
        return subprocess.run(
            ["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, timeout=60, check=False
        )
    return subprocess.run(command, input=sent, capture_output=True, timeout=60, check=False)


def test_bytes_that_are_no_text_are_replaced(db: Path) -> None:
    asked = raw(db, b"\xef\xbb\xbfgreen \xff tea\n")
    assert json.loads(asked.stdout)["question"] == "green \ufffd tea"


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (b"", "The question is empty."),
        (b"x" * 10_001, "The question is 10,001 characters long; at most 10,000 are read."),
        (b"x" * 10**6, "The question on standard input is too long; at most 10,000 characters are read."),
        (None, "Standard input is closed"),
    ],
    ids=["empty", "long", "endless", "closed"],
)
def test_what_is_no_question_is_refused(db: Path, sent: bytes | None, sentence: str) -> None:
    refused = raw(db, sent)
    assert refused.returncode == 2
    assert refused.stderr.decode().startswith(f"Error: {sentence}")
    assert refused.stderr.count(b"\n") == 1


def test_a_terminal_is_told_what_is_awaited(db: Path, tmp_path: Path) -> None:
    with Terminal([*RAGQA, "search", "-", "-c", "fts", "--db", db], tmp_path) as terminal:
        terminal.wait_for("Type the question, then Ctrl-D on a line of its own.")
        terminal.type("green tea\n\x04")
        assert "Brewing tea" in terminal.rest()
        assert terminal.code == 0
    with Terminal([*RAGQA, "search", "-", "-c", "fts", "--db", db], tmp_path) as terminal:
        terminal.wait_for("Type the question")
        terminal.type("\x03")
        assert "Traceback" not in terminal.rest()
        assert terminal.code == 130


# -- quiet --------------------------------------------------------------------------------------


def test_quiet_keeps_notes_back_wherever_it_stands(ragqa: Run, db: Path) -> None:
    asked = ("search", "xylophone", "-c", "fts", "--show-query", "--timings", "--db", db)
    assert "No passage matches." in ragqa(*asked).stderr
    for quiet in (("-q", *asked), ("--quiet", *asked), (*asked, "-q"), (*asked, "--quiet")):
        said = ragqa(*quiet)
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    assert ragqa("eval", "-q", "list", "--runs", "none.db").stderr.startswith("Error: There are no runs")


def test_errors_stay_when_it_is_quiet(ragqa: Run, db: Path, tmp_path: Path) -> None:
    for wrong in (("-q", "search", "x", "--db", "none.db"), ("search", "x", "--db", "none.db", "-q")):
        assert ragqa(*wrong).stderr.startswith("Error: There is no corpus at none.db yet")
    assert "Missing argument 'QUESTION'" in ragqa("-q", "search").stderr
    assert "No such option: --nonsense" in ragqa("search", "-q", "--nonsense").stderr
    chat = ragqa("chat", "-q", "--db", db, "-c", "fts", input="/nonsense\n")
    assert chat.stderr.startswith("Error: There is no command '/nonsense'")


def test_an_evaluation_is_quiet(ragqa: Run, db: Path, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"id": "1", "question": "green tea?", "relevant": ["tea.html"]}')
    command = ("eval", "run", "q.jsonl", "-c", "fts", "--retrieval-only", "--db", db, "--runs", "r.db")
    assert "1 questions" in ragqa(*command).stderr
    assert ragqa(*command, "-q").stderr == ""
    # There -q had a meaning before.
    assert json.loads(ragqa("eval", "show", "-q", "1", "--runs", "r.db", "--json").stdout)["results"]


def test_progress_without_a_bar_loads_nothing_to_draw_one() -> None:
    code = (
        "import sys\nfrom ragqa.cli.show_runs import matrix_progress\n"
        "with matrix_progress(): assert not [name for name in sys.modules if name.startswith('rich')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.PIPE)


def test_progress_is_a_bar_on_a_terminal_and_nothing_elsewhere(
    ragqa: Run, notes: Path, tmp_path: Path
) -> None:
    with_bars = shown("ingest", notes, "--db", "a.db", cwd=tmp_path)
    assert "Reading documents" in with_bars
    assert ESCAPE in with_bars
    quiet = shown("ingest", notes, "--db", "b.db", "-q", cwd=tmp_path)
    assert quiet == "4 added, 0 replaced, 0 unchanged, 0 pruned, 0 skipped\n"
    piped = ragqa("ingest", notes, "--db", "c.db", env={"FORCE_COLOR": "1"})
    assert (piped.stdout, piped.stderr) == (quiet, "")


# -- plain --------------------------------------------------------------------------------------

PIPED = [
    ["--help"],
    ["nonsense"],
    ["search", "green tea", "--full"],
    ["ask", QUESTION, "--no-log", "--explain"],
    ["compare", "green tea"],
    ["index"],
    ["status"],
]


@pytest.mark.parametrize("arguments", PIPED, ids=" ".join)
def test_a_pipe_gets_plain_text(ragqa: Run, db: Path, arguments: list[str]) -> None:
    said = ragqa(*arguments, input=f"{QUESTION}\n/explain\n", env={"RAGQA_DB": str(db)})
    assert said.returncode == (2 if "nonsense" in arguments else 0), said.stderr
    assert said.stdout + said.stderr
    assert not {ESCAPE, "\r", "\b"} & set(said.stdout + said.stderr)


def test_colours_are_for_terminals_that_are_able_and_users_who_want_them(db: Path, tmp_path: Path) -> None:
    env = {"RAGQA_DB": str(db)}
    for arguments in (["ask", QUESTION, "-n"], ["--help"]):
        assert f"{ESCAPE}[" in shown(*arguments, cwd=tmp_path, **env)
        assert ESCAPE not in shown(*arguments, cwd=tmp_path, NO_COLOR="1", **env)
    assert ESCAPE not in shown(*arguments, cwd=tmp_path, **env, TERM="dumb")


# -- whole passages and the pager ---------------------------------------------------------------


@pytest.fixture
def pager(tmp_path: Path) -> str:
    """Return a pager that says that it is one, and what it was given."""
    script = tmp_path / "pager"
    script.write_text("#!/bin/sh\necho PAGED $1\ncat\n")
    script.chmod(0o755)
    return str(script)


def test_full_shows_whole_passages(ragqa: Run, tmp_path: Path) -> None:
    words = " ".join(["steep the green tea"] * 20 + ["finally"])
    (tmp_path / "long.md").write_text(f"# Long\n\n{words}\n\n```\n  code\n```\n")
    assert ragqa("ingest", "long.md", "--db", "c.db").returncode == 0
    begun = ragqa("search", "green tea", "-c", "fts", "--db", "c.db").stdout
    whole = ragqa("search", "green tea", "-c", "fts", "--db", "c.db", "--full").stdout
    assert "finally" not in begun
    assert f"     {words}\n" in whole
    assert "\n       code\n" in whole


@pytest.mark.parametrize("command", [["search", "--full"], ["context"], ["explain"]], ids=" ".join)
def test_what_is_longer_than_the_screen_is_paged(
    ragqa: Run, db: Path, tmp_path: Path, pager: str, command: list[str]
) -> None:
    arguments = [*command, "water", "-c", "fts", "--db", str(db)]
    with Terminal([*RAGQA, *arguments], tmp_path, rows=8, PAGER=f"{pager} 'an argument'") as terminal:
        paged = terminal.rest()
    assert paged.startswith("PAGED an argument\n")
    # What another pager than less would make of colours is unknown.
    piped = ragqa(*arguments, env={"PAGER": pager, "LINES": "8"}).stdout
    assert paged.removeprefix("PAGED an argument\n").rstrip() == piped.rstrip()


@pytest.mark.parametrize(("lines", "more"), [(200, []), (8, ["--no-pager"])], ids=["short", "unwanted"])
def test_what_fits_or_is_not_to_be_paged_is_not(
    db: Path, tmp_path: Path, pager: str, lines: int, more: list[str]
) -> None:
    arguments = ["search", "--full", "water", "-c", "fts", "--db", str(db), *more]
    with Terminal([*RAGQA, *arguments], tmp_path, rows=lines, PAGER=pager) as terminal:
        assert "PAGED" not in terminal.rest()
        assert terminal.code == 0


@pytest.mark.parametrize(
    "program",
    ["false", "no-such-pager", "head -1", "less '", "sh -c 'trap \"\" INT; echo PAGED; sleep 1; cat'"],
)
def test_a_pager_that_fails_or_is_left_leaves_no_traceback(db: Path, tmp_path: Path, program: str) -> None:
    arguments = [*RAGQA, "search", "--full", "water", "-c", "fts", "--db", str(db)]
    with Terminal(arguments, tmp_path, rows=4, PAGER=program, LESS="-E") as terminal:
        if "PAGED" in program:
            terminal.wait_for("PAGED")
            terminal.type("\x03")
        elif "less" in program:
            # With -E it leaves at its end, and it is there after some pages.
            terminal.type(" " * 20)
        assert "Traceback" not in terminal.rest()
        assert terminal.code == 0


def test_an_interrupt_is_the_pagers_also_before_it_has_the_whole_text(tmp_path: Path) -> None:
    # More than a pipe holds: who writes still does when Ctrl-C comes, and has to go on.
    program = "from ragqa.cli.paging import paged\nwith paged(True):\n    print('word\\n' * 100_000 + 'END')"
    pager = "sh -c 'trap \"\" INT; echo PAGED; sleep 1; tail -3'"
    with Terminal([sys.executable, "-c", program], tmp_path, PAGER=pager) as terminal:
        terminal.wait_for("PAGED")
        terminal.type("\x03")
        assert "END" in terminal.rest()
        assert terminal.code == 0


def test_rows_are_those_of_the_terminal() -> None:
    assert rows("", 10) == 0
    assert rows("a\n\nb\n", 10) == 3
    assert rows("x" * 21, 10) == 3
    assert rows(f"{ESCAPE}[1;38;5;16m{'x' * 10}{ESCAPE}[0m", 10) == 1
    assert rows("茶" * 6, 10) == 2
    # A mark stands on the letter before it.
    assert rows("e\u0301" * 10, 10) == 1
    assert rows("e\u0301" * 11, 10) == 2


def test_the_pager_costs_nothing_where_there_is_none(db: Path) -> None:
    program = (
        "import sys\n"
        f"sys.argv = ['ragqa', 'search', '--full', 'tea', '-c', 'fts', '--db', {str(db)!r}]\n"
        "from ragqa.cli.app import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print({'click', 'rich'} & sys.modules.keys(), file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert ran.stderr == "set()\n"
