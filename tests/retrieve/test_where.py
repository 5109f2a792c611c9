"""Every first stage with a condition on metadata: as many passages as asked for, none from outside of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlite_utils
from pydantic import BaseModel

from ragqa.config import Config, Strict, parse_config
from ragqa.corpus.database import Corpus
from ragqa.errors import UsageError
from ragqa.index import dense_matrix
from ragqa.operations.corpus import build_index, remove_documents
from ragqa.pipeline import Pipeline
from ragqa.retrieve.fts import FullTextRetriever
from ragqa.search import registry
from ragqa.search.contracts import Resources
from ragqa.sources import Fields
from ragqa.types import Hit
from tests.conftest import fill

QUESTION = "How warm is the water for green tea?"
WHERE = "kind = 'coffee' AND tags = 'odd'"

FTS = {"type": "fts"}
DENSE = {"type": "dense"}
STAGES: dict[str, dict[str, Any]] = {
    "fts": FTS,
    "dense": DENSE,
    "colbert-exact": {"type": "colbert-index"},
    "colbert-shortlist": {"type": "colbert-index", "kind": "shortlist", "shortlist": 10},
    "hybrid": {"type": "hybrid", "stages": [FTS, DENSE]},
    "neighbours": {"type": "neighbours", "of": FTS, "seeds": 2},
}


def config(retrieve: dict[str, Any], where: str = "", **others: Any) -> Config:
    return parse_config({"retrieve": retrieve, "where": where, **others}, "test")


def records() -> list[dict[str, Any]]:
    """Return 60 notes. Those on tea are the better answer: the first few found hold none of the others."""
    kinds = ("tea", "coffee", "broth")
    return [
        {
            "id": f"{kind}-{number:02}",
            "title": f"Note {number} on {kind}",
            "text": f"The water for {'green tea' if kind == 'tea' else kind} number {number} is warm.",
            "kind": kind,
            "tags": ["drink", "odd" if number % 2 else "even"],
        }
        for kind in kinds
        for number in range(20)
    ]


def write(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def add(db: Path, path: Path, records: Sequence[dict[str, Any]]) -> None:
    fill(db, write(path, records), fields=Fields(meta=("kind", "tags")))


@pytest.fixture(scope="module")
def drinks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with its vectors; copy it before changing it."""
    folder = tmp_path_factory.mktemp("drinks")
    db = folder / "drinks.db"
    add(db, folder / "drinks.ndjson", records())
    with Pipeline.from_config("default", db) as pipeline:
        build_index(pipeline)
    return db


Open = Callable[..., Pipeline]


@pytest.fixture
def opened(drinks: Path, tmp_path: Path) -> Iterator[Open]:
    """Open pipelines over one copy of the corpus; what they note is in `notes`."""
    db = Path(shutil.copy(drinks, tmp_path / "drinks.db"))
    pipelines: list[Pipeline] = []

    def make(settings: Config, note: Callable[[str], None] = print) -> Pipeline:
        pipelines.append(Pipeline.from_config(settings, db, note))
        return pipelines[-1]

    yield make
    for pipeline in pipelines:
        pipeline.close()


def passes(hit: Hit) -> bool:
    return hit.passage.metadata["kind"] == "coffee" and "odd" in hit.passage.metadata["tags"]


@pytest.mark.parametrize("name", STAGES)
def test_as_many_are_found_as_asked_for_and_none_from_outside(opened: Open, name: str) -> None:
    stage = opened(config(STAGES[name], WHERE)).retriever
    hits = stage.search(QUESTION, 5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert all(map(passes, hits))
    assert len(stage.search(QUESTION, 1000)) == 10
    # The best of the others would have been before them.
    assert not any(map(passes, opened(config(STAGES[name])).retriever.search(QUESTION, 5)))
    assert [[hit.passage.id for hit in found] for found in stage.search_batch([QUESTION] * 2, 5)] == [
        [hit.passage.id for hit in hits]
    ] * 2


@pytest.mark.parametrize("name", ["fts", "dense", "colbert-exact", "colbert-shortlist"])
def test_order_and_scores_are_those_of_everything_filtered_by_hand(opened: Open, name: str) -> None:
    every = opened(config(STAGES[name] | {"shortlist": 1000} if "shortlist" in name else STAGES[name]))
    expected = [hit for hit in every.retriever.search(QUESTION, 1000) if passes(hit)]
    found = opened(config(STAGES[name], WHERE)).retriever.search(QUESTION, 1000)
    assert [hit.passage.id for hit in found] == [hit.passage.id for hit in expected]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], rel=1e-5)


def test_neighbours_of_the_best_are_within_the_condition_too(opened: Open) -> None:
    nearest = {"type": "neighbours", "of": FTS, "seeds": 1, "each": 8}
    found = opened(config(nearest, WHERE)).retriever.search("7", 20)
    assert found[0].passage.document_id == "coffee-07"
    assert len(found) == 1 + 8
    assert all(map(passes, found))
    assert not all(map(passes, opened(config(nearest)).retriever.search("7", 20)[3:]))


def test_packed_rows_are_masked_too(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = opened(config(DENSE, WHERE)).retriever
    exact = stage.search(QUESTION, 5)
    monkeypatch.setattr(dense_matrix, "PACKED_FROM", 1)
    packed = stage.search(QUESTION, 5)
    assert [hit.passage.id for hit in packed] == [hit.passage.id for hit in exact]


def test_a_reranker_gets_candidates_of_the_condition_alone(opened: Open) -> None:
    default = opened(
        config(STAGES["hybrid"], WHERE, candidates=10, rerank={"type": "colbert"}),
    )
    assert len(default.search(QUESTION, 10).hits) == 10
    assert all(map(passes, default.search(QUESTION, 10).hits))


def test_a_condition_that_nothing_meets_finds_nothing(opened: Open) -> None:
    for stage in STAGES.values():
        assert opened(config(stage, "kind = 'wine'")).search(QUESTION).hits == ()


@pytest.mark.parametrize("name", STAGES)
def test_what_is_added_and_removed_is_seen_at_the_next_question(
    opened: Open, name: str, tmp_path: Path
) -> None:
    pipeline = opened(config(STAGES[name], WHERE))
    assert len(pipeline.search(QUESTION, 1000).hits) == 10
    with Corpus.open(pipeline.corpus.path) as other:
        remove_documents(other, ["coffee-01", "coffee-03"])
    new = {"id": "new", "title": "Warm water for coffee", "text": "It is warm.", "kind": "coffee"}
    add(pipeline.corpus.path, tmp_path / "new.ndjson", [new | {"tags": ["odd"]}])
    found = {hit.passage.document_id for hit in pipeline.search(QUESTION, 1000).hits}
    assert len(found) == 9
    assert "new" in found


def test_full_text_asks_the_index_once_and_not_for_every_passage(opened: Open) -> None:
    pipeline = opened(config(FTS, WHERE))
    pipeline.search(QUESTION)
    asked: list[str] = []
    pipeline.corpus.connection.set_trace_callback(asked.append)
    pipeline.search(QUESTION)
    pipeline.corpus.connection.set_trace_callback(None)
    assert isinstance(pipeline.retriever, FullTextRetriever)
    (statement,) = [one for one in asked if pipeline.retriever.table in one and "MATCH" in one]
    assert not any("metadata LIKE" in one or "json_each(d.metadata)" in one for one in asked)
    plan = pipeline.corpus.connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    steps = [row[3] for row in plan]
    # A "=" after the M stands for a lookup by key: the index would be asked anew for each of them.
    assert any(f"SCAN {pipeline.retriever.table} VIRTUAL TABLE INDEX 0:M" in step for step in steps)
    assert not any("INDEX 0:=" in step or "M3=" in step for step in steps)


def test_an_unknown_key_is_noted_once(opened: Open) -> None:
    notes: list[str] = []
    pipeline = opened(config(STAGES["hybrid"], "knid = 'coffee'"), notes.append)
    assert pipeline.search(QUESTION).hits == ()
    pipeline.search("tea")
    remove_documents(pipeline.corpus, ["coffee-01"])
    pipeline.search("tea")
    assert notes == ["No document has the metadata key 'knid'. Known: kind, id, source, tags, title."]


# -- stages that do not obey ------------------------------------------------------------------------


def test_stages_that_search_elsewhere_are_refused(tmp_path: Path) -> None:
    db = sqlite_utils.Database(tmp_path / "blog.db")
    db.table("entries").insert({"id": 1, "title": "Tea", "body": "warm water"}, pk="id")
    db.table("entries").enable_fts(["title", "body"])
    db.close()
    elsewhere = {"type": "sqlite-fts", "database": str(tmp_path / "blog.db"), "table": "entries"}
    with Pipeline.from_config(config(elsewhere)) as pipeline:
        assert pipeline.search("warm").hits
    collection = {"type": "llm-collection", "collection": "notes"}
    for stage in (elsewhere, collection):
        with (
            Pipeline.from_config(config(stage, WHERE)) as pipeline,
            pytest.raises(UsageError, match=f"The first stage '{stage['type']}' takes no condition"),
        ):
            pipeline.search("warm")


def test_a_part_that_does_not_obey_is_refused_with_the_whole(opened: Open) -> None:
    collection = {"type": "llm-collection", "collection": "notes"}
    for stage in (
        {"type": "hybrid", "stages": [FTS, collection]},
        {"type": "neighbours", "of": collection},
    ):
        with pytest.raises(UsageError, match="The first stage 'llm-collection' takes no condition"):
            opened(config(stage, WHERE)).search(QUESTION)


class Newest:
    """A stage of somebody else's, who has not heard of conditions."""

    Settings: ClassVar[type[BaseModel]] = Strict

    def __init__(self, settings: Strict, resources: Resources) -> None:
        self.corpus = resources.corpus

    def search(self, query: str, k: int) -> list[Hit]:
        return [Hit(passage, 1, 1.0, {"newest": 1.0}) for passage in self.corpus.passages([1])]

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self.search(query, k) for query in queries]


def test_a_third_partys_stage_that_says_nothing_is_refused(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.RETRIEVERS, "newest", f"{__name__}:Newest")
    assert opened(config({"type": "newest"})).search(QUESTION).hits
    with pytest.raises(UsageError, match="The first stage 'newest' takes no condition"):
        opened(config({"type": "newest"}, WHERE)).search(QUESTION)


# -- in Python --------------------------------------------------------------------------------------


def test_python_gives_a_condition_instead_of_the_configs(drinks: Path) -> None:
    with Pipeline.from_config(config(FTS, WHERE), drinks, where="kind = 'broth'") as pipeline:
        assert {hit.passage.metadata["kind"] for hit in pipeline.search(QUESTION).hits} == {"broth"}
    with Pipeline.from_config(config(FTS, WHERE), drinks, where="") as pipeline:
        assert "tea" in {hit.passage.metadata["kind"] for hit in pipeline.search(QUESTION).hits}
    with pytest.raises(UsageError, match="«kind =» cannot be read"):
        Pipeline.from_config("fts", drinks, where="kind =")
