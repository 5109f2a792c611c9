"""`--where` as a user meets it: which commands take it, what it overrides, what is said of mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ragqa.evaluate.store import RunStore
from tests.cli.test_cli import HEAVY, imported, result
from tests.conftest import Run

QUESTION = "How warm is the water?"
NOT_TEA = "id != 'tea.html'"


def documents(found: dict[str, Any]) -> set[str]:
    return {hit["document_id"] for hit in found["hits"]}


def test_search_finds_only_documents_with_such_metadata(db: Path, ragqa: Run) -> None:
    search = ("search", QUESTION, "-c", "fts", "--db", db, "--json")
    assert documents(result(ragqa(*search))) == {"coffee.md", "tea.html", "garden.txt"}
    assert documents(result(ragqa(*search, "--where", "date >= '2024'"))) == {"coffee.md"}
    assert documents(result(ragqa(*search, "--where", "date IS NULL"))) == {"tea.html", "garden.txt"}
    both = ("--where", NOT_TEA, "--where", "date IS NULL OR title = 'nothing'")
    assert documents(result(ragqa(*search, *both))) == {"garden.txt"}


def test_the_option_takes_the_place_of_the_configs_condition(db: Path, ragqa: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"retrieve": {"type": "fts"}, "where": NOT_TEA}))
    search = ("search", QUESTION, "-c", "mine.yaml", "--db", db, "--json")
    assert documents(result(ragqa(*search))) == {"coffee.md", "garden.txt"}
    assert documents(result(ragqa(*search, "--where", "id LIKE '%.HTML'"))) == {"tea.html"}
    assert "tea.html" in documents(result(ragqa(*search, "--where", "")))


def test_context_ask_explain_and_chat_obey(db: Path, ragqa: Run) -> None:
    shared = ("-c", "fts", "--db", db, "--where", NOT_TEA)
    context = ragqa("context", QUESTION, *shared)
    assert context.returncode == 0, context.stderr
    assert "grams" in context.stdout
    assert "tea" not in context.stdout.lower()
    answer = result(ragqa("ask", QUESTION, *shared, "-m", "extractive", "--no-log", "--json"))
    assert "tea" not in answer["answer"].lower()
    assert "tea.html" not in json.dumps(answer)
    explained = result(ragqa("explain", QUESTION, *shared, "--json"))
    assert "tea.html" not in documents(explained)
    chat = ragqa("chat", *shared, "-m", "extractive", "--no-log", input=f"{QUESTION}\n/sources\n")
    assert chat.returncode == 0, chat.stderr
    assert "Making coffee" in chat.stdout
    assert "tea" not in chat.stdout.lower()


def test_a_key_that_no_document_has_is_said_once(db: Path, ragqa: Run) -> None:
    nothing = ragqa("search", "zebra", "-c", "fts", "--db", db)
    search = ragqa("search", QUESTION, "-c", "fts", "--db", db, "--where", "dtae = 'a'")
    assert (search.returncode, search.stdout) == (nothing.returncode, nothing.stdout)
    sentence = "No document has the metadata key 'dtae'. Known: date, id, modified, source, title."
    assert search.stderr == f"{sentence}\n{nothing.stderr}"
    compared = ragqa("compare", QUESTION, "-c", "fts", "-c", "hybrid", "--db", db, "--where", "dtae = 'a'")
    assert compared.returncode == 0
    assert compared.stderr.count(sentence) == 1


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ('title = "Brewing tea"', "(a text is 'Brewing tea')"),
        ("title = 'x' OR 1=1 --", "has a comment in it"),
        ("lower(title) = 'x'", "has a function in it"),
    ],
)
def test_what_cannot_be_read_is_a_mistake_of_the_user(db: Path, ragqa: Run, where: str, problem: str) -> None:
    process = ragqa("search", QUESTION, "-c", "fts", "--db", db, "--where", where)
    assert (process.returncode, process.stdout) == (2, "")
    assert problem in process.stderr
    assert process.stderr.count("\n") == 1


def test_a_run_keeps_its_condition_as_a_part_of_its_config(db: Path, ragqa: Run, tmp_path: Path) -> None:
    questions = tmp_path / "asked.jsonl"
    questions.write_text(json.dumps({"question": "How warm is green tea steeped?", "relevant": ["tea.html"]}))
    run = ("eval", "run", questions, "-c", "fts", "--retrieval-only", "--db", db, "--runs", "runs.db")
    (whole,) = result(ragqa(*run, "--metric", "R@100", "--json"))["runs"]
    (narrow,) = result(ragqa(*run, "--metric", "R@100", "--json", "--where", NOT_TEA))["runs"]
    assert [run["metrics"]["R@100"]["mean"] for run in (whole, narrow)] == [1, 0]
    with RunStore.open(tmp_path / "runs.db") as store:
        configs = [yaml.safe_load(info.key.config) for info in store.infos()]
    assert {config["where"] for config in configs} == {"", NOT_TEA}


def test_a_condition_costs_a_full_text_search_no_heavy_import(db: Path) -> None:
    environment = {"RAGQA_DB": str(db)}
    names = (*HEAVY, "numpy", "sqlglot")
    assert imported(["search", "tea", "-c", "fts"], names, environment) == []
    assert imported(["search", "tea", "-c", "fts", "--where", NOT_TEA], names, environment) == ["sqlglot"]
