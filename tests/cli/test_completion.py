"""What Tab offers, by each shell's own protocol and in the shells that are installed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ragqa.cli import completion, model_names
from ragqa.cli.app import main
from ragqa.config import shipped_configs
from ragqa.evaluate.metrics import parse_metrics
from tests.cli.terminal import Terminal
from tests.cli.test_cli import imported
from tests.conftest import Run

SCRIPT = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}


def in_bash(*words: str) -> dict[str, str]:
    """Return what bash sets when Tab is pressed at the end of the last of `words`."""
    asked = {"COMP_WORDS": "\n".join(("ragqa", *words)), "COMP_CWORD": str(len(words))}
    return {completion.VARIABLE: "complete_bash", **asked}


def in_zsh(line: str) -> dict[str, str]:
    return {completion.VARIABLE: "complete_zsh", "_TYPER_COMPLETE_ARGS": line}


def in_fish(line: str, action: str = "get-args") -> dict[str, str]:
    asked = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": action}
    return {completion.VARIABLE: "complete_fish", **asked}


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Let `ragqa` answer a shell in this process; returns what it printed and its exit code."""

    def ask(env: dict[str, str]) -> tuple[str, int]:
        with monkeypatch.context() as context:
            context.chdir(tmp_path)
            context.setattr(sys, "argv", ["ragqa"])
            for name, value in env.items():
                context.setenv(name, value)
            with pytest.raises(SystemExit) as stop:
                main()
        printed = capfd.readouterr()
        assert printed.err == ""
        return printed.out, int(stop.value.code or 0)

    return ask


@pytest.fixture
def tab(answer: Any) -> Any:
    """Press Tab in bash after `words`; returns what is offered."""
    return lambda *words, **env: answer({**in_bash(*words), **env})[0].splitlines()


@pytest.fixture
def model_tab(ragqa: Run) -> Any:
    """As `tab`, in a process of its own: it starts another one and does not wait for it."""

    def press(*words: str, **env: str) -> list[str]:
        said = ragqa(env={**in_bash(*words), **env})
        assert said.stderr == ""
        return list(said.stdout.splitlines())

    return press


def rename(db: Path, *names: str) -> None:
    with closing(sqlite3.connect(db)) as connection:
        for rowid, name in enumerate(names, 1):
            connection.execute("UPDATE documents SET id = ? WHERE rowid = ?", [name, rowid])
        connection.commit()


def test_commands_and_options_are_offered(tab: Any, ragqa: Run) -> None:
    assert ragqa(env=in_bash("se")).stdout == "search\nserve\n"
    assert tab("se") == ["search", "serve"]
    assert tab("eval", "re") == ["report", "rejudge"]
    assert tab("search", "--ful") == ["--full"]


def test_configs_are_offered_by_name_and_as_files(tab: Any, tmp_path: Path) -> None:
    assert tab("search", "-c", "") == sorted(shipped_configs())
    (tmp_path / "deep.yaml").touch()
    (tmp_path / "dense.txt").touch()
    assert tab("ask", "q", "--config", "de") == ["default", "dense", "deep.yaml"]
    (tmp_path / "mine" / "old").mkdir(parents=True)
    (tmp_path / "mine" / "a.yml").touch()
    assert tab("eval", "run", "q.jsonl", "-c", "mine/a") == ["mine/a.yml"]
    # A folder may be meant as well, and that the shell does better.
    assert tab("compare", "q", "-c", "mine/") == []


def test_prompts_rubrics_devices_formats_and_metrics_are_offered(tab: Any) -> None:
    assert tab("ask", "--prompt", "") == ["concise", "detailed", "quote-only", "small"]
    assert tab("eval", "rejudge", "--rubric", "j") == ["judge-absolute", "judge-pairwise"]
    assert tab("index", "--device", "") == ["auto", "cpu", "cuda", "mps"]
    assert tab("ingest", ".", "--format", "m") == ["markdown"]
    assert tab("eval", "show", "--metric", "Success") == ["Success@1", "Success@5"]
    assert [metric.name for metric in parse_metrics(completion.METRICS)] == list(completion.METRICS)


def test_documents_of_the_corpus_named_are_offered(tab: Any, db: Path) -> None:
    everything = ["bicycle.md", "coffee.md", "garden.txt", "tea.html"]
    assert tab("explain", "q", "--document", "", RAGQA_DB=str(db)) == everything
    assert tab("remove", "--db", str(db), "tea.html", "b") == ["bicycle.md"]
    assert not list(db.parent.glob("notes.db-*"))


def test_runs_and_their_questions_are_offered(tab: Any, ragqa: Run, db: Path, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"id": "warm", "question": "how warm is green tea?"}))
    options = ("--retrieval-only", "--db", db, "--runs", "r.db")
    ran = ragqa("eval", "run", "q.jsonl", "-c", "fts", *options)
    assert ran.returncode == 0, ran.stderr
    assert tab("eval", "show", "", RAGQA_RUNS="r.db") == ["fts"]
    assert tab("eval", "diff", "--runs", "r.db", "fts", "f") == ["fts"]
    assert tab("eval", "check", "q.jsonl", "--runs", "r.db", "--baseline", "") == ["fts"]
    assert tab("eval", "show", "--runs", "r.db", "--question", "w") == ["warm"]


def eventually(wanted: str) -> None:
    """Wait for a name to be in the cache, which a process writes that nobody waits for."""
    end = time.monotonic() + 20
    while wanted not in model_names._read()[1]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_models_are_offered_without_importing_llm(model_tab: Any, isolated_user: Path) -> None:
    # The first time may be too short for llm, and then those are offered that there always are.
    assert {"auto", "extractive"} <= set(model_tab("ask", "-m", ""))
    eventually("4o-mini")
    assert "4o-mini" in model_tab("ask", "q", "-m", "4o-m")
    assert "gpt-4o-mini" in model_tab("eval", "rejudge", "--judge", "gpt-4o-m")
    assert imported([], ("llm", "torch", "numpy"), in_bash("ask", "-m", "4o-m")) == []


def test_a_new_alias_is_noticed(model_tab: Any, isolated_user: Path) -> None:
    model_names.remember(["old"])
    assert model_tab("ask", "-m", "") == ["auto", "extractive", "old"]
    (isolated_user / "llm").mkdir(exist_ok=True)
    (isolated_user / "llm" / "aliases.json").write_text('{"brand-new": "gpt-4o-mini"}')
    model_tab("ask", "-m", "")
    eventually("brand-new")


def test_listing_the_models_makes_them_known(ragqa: Run) -> None:
    assert ragqa("models").returncode == 0
    assert "4o-mini" in json.loads(model_names._file().read_text())["names"]


def test_a_cache_that_is_broken_or_cannot_be_written_is_none(model_tab: Any, tmp_path: Path) -> None:
    model_names.remember(["mine"])
    model_names._file().write_text('{"of": 3')
    assert "extractive" in model_tab("ask", "-m", "")
    (tmp_path / "file").touch()
    assert "extractive" in model_tab("ask", "-m", "", XDG_CACHE_HOME=str(tmp_path / "file"))


BROKEN = {
    "no corpus": in_bash("explain", "--db", "none.db", "--document", ""),
    "no database": in_bash("explain", "--db", "letter.db", "--document", ""),
    "another database": in_bash("explain", "--db", "other.db", "--document", ""),
    "a folder": in_bash("remove", "--db", ".", ""),
    "no runs": in_bash("eval", "show", "--runs", "none.db", ""),
    "a place that is no number": {**in_bash("search"), "COMP_CWORD": "x"},
    "no words": {completion.VARIABLE: "complete_bash"},
    "a wrong value before": in_bash("search", "-k", "many", "--db", "none.db", "--config", "nothing-such"),
    "an unknown user": in_bash("search", "-c", "~nobody-here/x"),
    "an unknown shell": {completion.VARIABLE: "complete_csh"},
    "no instruction": {completion.VARIABLE: "1"},
}


@pytest.mark.parametrize("env", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_completed_is_passed_over_in_silence(
    answer: Any, tmp_path: Path, env: dict[str, str]
) -> None:
    (tmp_path / "letter.db").write_text("Dear SQLite, " * 99)
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE t (id)")
    before = sorted(tmp_path.iterdir())
    assert answer(env)[0] == ""
    assert sorted(tmp_path.iterdir()) == before


def test_ids_that_a_shell_would_obey_are_not_offered(tab: Any, db: Path, answer: Any) -> None:
    rename(db, "x$(touch owned)", "x`touch owned`", "x\\$(touch owned)", "x fine.md")
    assert tab("remove", "x", RAGQA_DB=str(db)) == ["x\\ fine.md"]
    assert answer({**in_zsh("ragqa remove x"), "RAGQA_DB": str(db)})[0] == (
        "_arguments '*: :((\"x fine.md\"))'\n"
    )
    rename(db, "--db", "=ls", "new\nline", "glob*")
    assert tab("remove", "", RAGQA_DB=str(db)) == []


def test_of_too_many_ids_the_common_beginning_is_right(
    tab: Any, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(db)) as connection:
        rows = [(f"note-{number:04}",) for number in range(completion.MOST)] + [("notice",)]
        connection.executemany(
            "INSERT INTO documents (id, title, text, format, source, metadata, origin, content_hash,"
            " ingested_at) VALUES (?, '', '', 'text', '', '{}', '', '', '')",
            rows,
        )
        connection.commit()
    offered = tab("remove", "not", RAGQA_DB=str(db))
    assert len(offered) == completion.MOST + 1
    assert {offered[0], offered[-1]} == {"note-0000", "notice"}


def test_bash_is_offered_what_comes_after_its_cuts(tab: Any, db: Path) -> None:
    rename(db, "https://a.org/one", "https://a.org/two", "my notes.md")
    corpus = {"RAGQA_DB": str(db)}
    assert tab("remove", "https", **corpus) == ["https://a.org/one", "https://a.org/two"]
    assert tab("remove", "https", ":", "//a.org/t", **corpus) == ["//a.org/two"]
    assert tab("remove", "https", ":", **corpus) == ["//a.org/one", "//a.org/two"]
    assert tab("explain", "--document", "=", "https", ":", "//a.org/o", **corpus) == ["//a.org/one"]
    assert tab("ask", "--config", "=", "hy", **corpus) == ["hybrid", "hybrid-colbert"]
    assert tab("ask", "--config", "=", **corpus) == sorted(shipped_configs())
    assert tab("remove", "my\\ no", **corpus) == ["my\\ notes.md"]
    assert tab("remove", '"my no', **corpus) == ["my notes.md"]


def test_zsh_and_fish_are_answered_in_their_own_ways(answer: Any) -> None:
    zsh, _ = answer(in_zsh("ragqa search -c fts"))
    assert zsh == '_arguments \'*: :(("fts"\n"fts-colbert"))\'\n'
    joined, _ = answer(in_zsh("ragqa search --config=fts"))
    assert joined == '_arguments \'*: :(("--config=fts"\n"--config=fts-colbert"))\'\n'
    assert answer(in_zsh("ragqa search -c nothing-such"))[0] == "_files\n"
    assert answer(in_fish("ragqa search -c fts"))[0] == "fts\nfts-colbert\n"
    assert answer(in_fish("ragqa search --config=de"))[0] == "--config=default\n--config=dense\n"
    # fish asks first whether there is anything, and completes files if not.
    assert answer(in_fish("ragqa search -c fts", "is-args"))[1] == 0
    assert answer(in_fish("ragqa search --db x", "is-args"))[1] == 1


def shell_script(ragqa: Run, shell: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(ragqa("--show-completion", shell, env=SCRIPT).stdout)


def with_ragqa() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def test_in_a_real_bash(ragqa: Run, db: Path, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    rename(db, "https://a.org/one", "my notes.md")
    shell_script(ragqa, "bash", tmp_path)
    env = {"RAGQA_DB": str(db), "PATH": with_ragqa()}
    with Terminal([bash, "--norc", "--noprofile", "-i"], tmp_path, **env) as terminal:
        terminal.type("source ./script\n")
        terminal.wait_for("$ ")
        terminal.type("ragqa rem\t")
        terminal.wait_for("ragqa remove ")
        terminal.type("htt\t")
        terminal.wait_for("https://a.org/one ")
        terminal.type("my\t")
        terminal.wait_for("my\\ notes.md ")
        terminal.type("-q\n")
        terminal.wait_for("2 removed")


def test_in_a_real_zsh(ragqa: Run, db: Path, tmp_path: Path) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not installed")
    rename(db, "https://a.org/one", "my notes.md")
    shell_script(ragqa, "zsh", tmp_path)
    env = {"RAGQA_DB": str(db), "PATH": with_ragqa()}
    with Terminal([zsh, "-f", "-i"], tmp_path, **env) as terminal:
        terminal.type("autoload -Uz compinit; compinit -u; source ./script; echo rea''dy\n")
        terminal.wait_for("ready")
        terminal.type("ragqa remove htt\t")
        terminal.wait_for("https://a.org/one")
        terminal.type("my\t")
        terminal.wait_for("my\\ notes.md")
        terminal.type("-q\n")
        terminal.wait_for("2 removed")


def test_in_a_real_fish(ragqa: Run, db: Path, tmp_path: Path) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("fish is not installed")
    shell_script(ragqa, "fish", tmp_path)
    env = {"RAGQA_DB": str(db), "PATH": with_ragqa()}
    with Terminal([fish, "--no-config", "-i"], tmp_path, **env) as terminal:
        terminal.type("source ./script; echo rea''dy\n")
        terminal.wait_for("ready")
        terminal.type("ragqa remove tea\t")
        terminal.wait_for("tea.html")
        terminal.type("-q\n")
        terminal.wait_for("1 removed")


def test_completion_is_installed_where_the_shell_finds_it(ragqa: Run, isolated_user: Path) -> None:
    installed = ragqa("--install-completion", "bash", env=SCRIPT)
    assert installed.returncode == 0, installed.stderr
    assert completion.VARIABLE in (isolated_user / ".bash_completions" / "ragqa.sh").read_text()
