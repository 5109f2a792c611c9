from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ragqa.config import load_config
from ragqa.errors import UsageError
from ragqa.operations.compare import ask_all, compare
from ragqa.pipeline import Pipeline
from ragqa.types import Hit, Passage, SearchResult
from tests.conftest import Run

QUESTION = "How warm is green tea steeped?"


def found(config: str, *documents: str) -> SearchResult:
    hits = [
        Hit(Passage(rank, name, rank, 0, 1, name.upper(), (), "", "", {}), rank, 1.0, {})
        for rank, name in enumerate(documents, 1)
    ]
    return SearchResult("why", config, tuple(hits), {config: 1.0})


def test_ranks_count_documents_and_overlap_is_jaccards() -> None:
    compared = compare("why", {"a": found("a", "x", "x", "y"), "b": found("b", "y", "z")})
    assert [(d.document_id, dict(d.ranks)) for d in compared.documents] == [
        ("y", {"a": 2, "b": 1}),
        ("x", {"a": 1}),
        ("z", {"b": 2}),
    ]
    assert compared.overlap("a", "b") == pytest.approx(1 / 3)
    assert (compared.found_alone("a"), compared.found_alone("b")) == (["x"], ["z"])
    assert compare("why", {"a": found("a"), "b": found("b")}).overlap("a", "b") == 1.0


def test_every_config_and_model_answers(db: Path, fake_models: SimpleNamespace) -> None:
    configs = [load_config(name).model_copy(update={"refuse": "never"}) for name in ("fts", "dense")]
    pipelines = [Pipeline.from_config(config, db) for config in configs]
    compared = ask_all(pipelines, QUESTION, 3, ["fake", "extractive"])
    assert list(compared.answers) == [
        "fts, fake",
        "fts, extractive",
        "dense, fake",
        "dense, extractive",
    ]
    assert "70 degrees" in compared.answers["dense, extractive"].text
    assert list(compared.results) == ["fts", "dense"]
    with pytest.raises(UsageError, match="nothing to compare"):
        ask_all(pipelines[:1], QUESTION, 3, ["fake"])
    assert len(ask_all(pipelines[:1], QUESTION, 3, ["fake", "extractive"]).answers) == 2
    nothing = ask_all(pipelines, "xylophone", 3, ["extractive"])
    assert nothing.answers["fts, extractive"].refused == "scores"
    assert not nothing.answers["dense, extractive"].refused
    for pipeline in pipelines:
        pipeline.close()


def test_the_command_shows_a_table_and_json(db: Path, ragqa: Run) -> None:
    configs = ("-c", "fts", "-c", "dense", "-c", "default")
    shown = ragqa("compare", QUESTION, *configs, "-k", "3", "--answers", "-m", "extractive", "--db", db)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["fts", "dense", "default", "document"]
    assert "Brewing tea (tea.html)" in lines[1]
    assert lines[1].split()[:3] == ["1", "1", "1"]
    assert "fts and dense share" in shown.stdout
    assert "default, extractive:" in shown.stdout
    data = json.loads(ragqa("compare", QUESTION, *configs, "--json", "--db", db).stdout)
    assert list(data["configs"]) == ["fts", "dense", "default"]
    assert data["configs"]["fts"]["hits"][0]["document_id"] == "tea.html"
    assert data["documents"][0]["ranks"] == {"fts": 1, "dense": 1, "default": 1}
    assert set(data["overlap"]) == {"fts / dense", "fts / default", "dense / default"}
    alone = ragqa("compare", QUESTION, "-c", "fts", "--db", db)
    assert (alone.returncode, "nothing to compare" in alone.stderr) == (2, True)
