"""First stages that search somebody else's database where it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import llm
import pytest
import sqlite_utils
from llm.plugins import pm

from ragqa.config import parse_config
from ragqa.errors import RagqaError
from ragqa.pipeline import Pipeline
from tests.conftest import NOTES, Run

QUESTION = "How warm is green tea steeped?"


@pytest.fixture(params=["FTS5", "FTS4"])
def blog(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "blog.db"
    db = sqlite_utils.Database(path)
    rows = [{"slug": name, "headline": name, "body": text} for name, text in NOTES.items()]
    db["entries"].insert_all(rows, pk="slug")
    db["entries"].enable_fts(["headline", "body"], fts_version=request.param)
    db["plain"].insert({"id": 1, "body": "no index"}, pk="id")
    db.close()
    return path


def stage(path: Path, **options: object) -> dict[str, object]:
    columns = {"title": "headline", "text": "body"}
    return {"type": "sqlite-fts", "database": str(path), "table": "entries", "columns": columns, **options}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_table_with_an_index_is_searched_in_place(blog: Path) -> None:
    before = digest(blog)
    config = parse_config({"retrieve": stage(blog), "rerank": {"type": "colbert"}}, "blog")
    pipeline = Pipeline.from_config(config)
    hits = pipeline.search(QUESTION).hits
    assert hits[0].passage.document_id == "tea.html"
    assert "<p>" not in hits[0].passage.text
    assert "70 degrees" in hits[0].passage.text
    assert hits[0].scores.keys() == {"sqlite-fts", "colbert"}
    assert pipeline.search("xylophone").hits == ()
    # Nothing is kept of it, in its own file or in ours.
    assert pipeline.corpus.count("passages") == pipeline.corpus.count("token_vectors") == 0
    answer = pipeline.ask(QUESTION, model="extractive", log=False)
    assert "70 degrees" in answer.text
    folder = pipeline.corpus.path.parent
    pipeline.close()
    assert not folder.exists()
    assert digest(blog) == before
    assert sorted(path.name for path in blog.parent.iterdir()) == ["blog.db"]


def test_it_is_fused_with_stages_of_the_corpus(blog: Path, db: Path) -> None:
    both = {"type": "hybrid", "stages": [{"type": "fts"}, stage(blog)]}
    pipeline = Pipeline.from_config(parse_config({"retrieve": both}, "both"), db)
    sources = {hit.passage.source for hit in pipeline.search(QUESTION).hits}
    assert "blog.db entries" in sources
    assert len(sources) > 1
    pipeline.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"table": "nothing"}, "has no table 'nothing'. Tables there: .*entries"),
        ({"table": "plain"}, "has no full-text index: sqlite-utils enable-fts .*blog.db plain"),
        ({"columns": {"text": "prose"}}, "has no field 'prose'"),
        ({"database": "/nowhere.db"}, "no database /nowhere.db"),
    ],
)
def test_what_is_wrong_is_said(blog: Path, options: dict[str, object], said: str) -> None:
    pipeline = Pipeline.from_config(parse_config({"retrieve": stage(blog, **options)}, "blog"))
    with pytest.raises(RagqaError, match=said):
        pipeline.search(QUESTION)
    pipeline.close()


def test_the_command_line_needs_no_corpus_for_it(blog: Path, ragqa: Run, tmp_path: Path) -> None:
    (tmp_path / "blog.yaml").write_text(
        "retrieve: {type: sqlite-fts, database: blog.db, table: entries, columns: {text: body}}"
    )
    result = ragqa("search", QUESTION, "-c", "blog.yaml", "-k", "1")
    assert result.returncode == 0, result.stderr
    assert "tea.html#" in result.stdout


class Letters(llm.EmbeddingModel):
    """Counts letters: texts that share words are near each other."""

    model_id = "letters"
    needs_key = None

    def embed_batch(self, items: Sequence[str | bytes]) -> Iterator[list[float]]:
        for item in items:
            text = str(item).lower()
            yield [float(text.count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]


@pytest.fixture
def letters() -> Iterator[None]:
    class Plugin:
        __name__ = "Letters"

        @llm.hookimpl
        def register_embedding_models(self, register: object) -> None:
            register(Letters())  # type: ignore[operator]

    plugin = Plugin()
    pm.register(plugin, name="letters")
    yield
    pm.unregister(plugin)


def test_an_llm_collection_is_searched_in_place(letters: None, tmp_path: Path) -> None:
    path = tmp_path / "embeddings.db"
    collection = llm.Collection("notes", sqlite_utils.Database(path), model_id="letters")
    collection.embed_multi([(name, text) for name, text in NOTES.items()], store=True)
    silent = llm.Collection("silent", sqlite_utils.Database(path), model_id="letters")
    silent.embed_multi([("one", "text")])
    collection.db.close()
    silent.db.close()
    before = digest(path)

    def search(name: str) -> list[str]:
        retrieve = {"type": "llm-collection", "collection": name, "database": str(path)}
        pipeline = Pipeline.from_config(parse_config({"retrieve": retrieve}, "llm"))
        try:
            return [hit.passage.document_id for hit in pipeline.search(NOTES["garden.txt"]).hits]
        finally:
            pipeline.close()

    assert search("notes")[0] == "garden.txt"
    assert len(search("notes")) >= 4
    with pytest.raises(RagqaError, match="'silent' holds no texts: llm embed-multi --store"):
        search("silent")
    with pytest.raises(RagqaError, match="no llm collection 'other'. Known: notes, silent"):
        search("other")
    assert digest(path) == before
