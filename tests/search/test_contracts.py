"""A stage of somebody else's can all that ragqa's own can: nobody asks for a stage by its class."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ragqa.config import Config, Strict, parse_config
from ragqa.corpus.database import Corpus
from ragqa.encoders.device import Compute
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.tokens import EncoderSettings
from ragqa.errors import UsageError
from ragqa.explain.explanation import explain
from ragqa.index.token_store import UnstoredTokens
from ragqa.operations.corpus import index_bytes, missing_passages
from ragqa.pipeline import Pipeline
from ragqa.retrieve.ranking import hits
from ragqa.search import registry
from ragqa.service.pools import shares
from ragqa.types import Hit, Matches, Passage, QueryMatch, QueryWord

ROOT = Path(__file__).parents[2]


class LongestSettings(Strict):
    fast: bool = True


class Longest:
    """The longest passages, whatever is asked."""

    Settings = LongestSettings
    built = False

    def __init__(self, settings: LongestSettings, resources: Any) -> None:
        self.corpus: Corpus = resources.corpus

    @classmethod
    def score_names(cls, settings: LongestSettings) -> set[str]:
        return {"length"}

    @classmethod
    def shares(cls, settings: LongestSettings) -> bool:
        return settings.fast

    def search(self, query: str, k: int) -> list[Hit]:
        rows = self.corpus.connection.execute(
            "SELECT rowid, length(text) FROM passages ORDER BY length(text) DESC LIMIT ?", [k]
        ).fetchall()
        return hits(self.corpus, [row[0] for row in rows], [row[1] for row in rows], "length")

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self.search(query, k) for query in queries]

    def matches(self, query: str, hits: Sequence[Hit]) -> list[Matches | None]:
        word = QueryWord(query, 0, len(query))
        return [
            Matches("length", len(text), text, (), (QueryMatch(word, None, 0.0, len(text)),))
            for text in (hit.passage.text for hit in hits)
        ]

    def prepare(self) -> None:
        self.built = True

    def missing(self) -> int:
        return 0 if self.built else self.corpus.count("passages")

    def build(self, on_passages: Callable[[int, int], None]) -> int:
        self.built = True
        return self.corpus.count("passages")

    def sizes(self) -> Mapping[str, int]:
        return {"lengths": 4321}

    def match_expression(self, query: str) -> str:
        return f"longest, not {query}"

    def rows(self, table: str, fingerprint: str, passages: Sequence[Passage]) -> dict[int, tuple[Any, ...]]:
        return {}


class Backwards:
    """The worst first, by token vectors that are made on the spot."""

    Settings = Strict

    def __init__(self, settings: Strict, resources: Any) -> None:
        self.token_source = UnstoredTokens(load_encoder(EncoderSettings(), Compute("cpu")))

    def rerank(self, query: str, hits: Sequence[Hit], k: int) -> list[Hit]:
        return list(reversed(hits))[:k]


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.RETRIEVERS, "longest", f"{__name__}:Longest")
    monkeypatch.setitem(registry.RERANKERS, "backwards", f"{__name__}:Backwards")


def config(**others: Any) -> Config:
    return parse_config({"retrieve": {"type": "longest"}, **others}, "mine")


def test_it_is_built_counted_and_sized(db: Path) -> None:
    with Pipeline.from_config(config(), db) as pipeline:
        assert missing_passages(pipeline) == {"longest": pipeline.corpus.count("passages")}
        assert index_bytes(pipeline) == 4321
        pipeline.derived()["longest"].build(lambda done, total: None)
        assert missing_passages(pipeline) == {"longest": 0}


def test_it_explains_what_it_scored(db: Path) -> None:
    with Pipeline.from_config(config(), db) as pipeline:
        found = explain(pipeline, "beans", 1).hits[0]
        (matches,) = found.matches
        assert (matches.stage, matches.total) == ("length", found.hit.score)
        assert found.ranks == {"length": 1}


def test_it_has_a_match_expression(db: Path) -> None:
    with Pipeline.from_config(config(), db) as pipeline:
        assert pipeline.match_expression(" beans ") == "longest, not beans"


def test_its_scores_can_be_weighed_by_their_name(db: Path) -> None:
    weighed = {"type": "colbert", "fuse": {"weights": {"length": 1, "colbert": 1}}}
    with Pipeline.from_config(config(rerank=weighed), db) as pipeline:
        assert pipeline.search("beans").hits[0].scores.keys() >= {"length", "colbert"}
    wrong = {"type": "colbert", "fuse": {"weights": {"longest": 1}}}
    with pytest.raises(UsageError, match="scores of colbert, length"):
        Pipeline.from_config(config(rerank=wrong), db)


def test_it_says_whether_threads_may_share_it() -> None:
    assert shares(config())
    assert not shares(config(retrieve={"type": "longest", "fast": False}))
    # One that says nothing is used by one at a time.
    assert not shares(config(rerank={"type": "backwards"}))
    parts = [{"type": "longest", "fast": False}, {"type": "fts"}]
    assert not shares(config(retrieve={"type": "hybrid", "stages": parts}))


def test_the_corpus_learns_of_rows_that_it_has_elsewhere(db: Path) -> None:
    with Pipeline.from_config(config(), db) as pipeline:
        assert pipeline.corpus.elsewhere == []
        assert pipeline.corpus.elsewhere == [pipeline.retriever]


def test_sentences_are_scored_by_its_token_vectors(db: Path) -> None:
    with Pipeline.from_config(config(rerank={"type": "backwards"}), db) as pipeline:
        assert pipeline.evidence_source is pipeline.reranker.token_source  # type: ignore[attr-defined]
        assert "70 degrees" in pipeline.ask("How warm is green tea?", model="extractive", log=False).text


def test_nobody_asks_for_a_stage_by_its_class() -> None:
    """But who tunes configs of its own making, writes what one stage reads, or teaches by a cross-encoder."""
    askers: dict[str, set[str]] = {}
    for path in (ROOT / "ragqa").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
            if module.startswith(("ragqa.retrieve.", "ragqa.rerank.")) and isinstance(node, ast.ImportFrom):
                names = {name.name for name in node.names if name.name.endswith(("Retriever", "Reranker"))}
                if names:
                    askers.setdefault(f"{path.parent.name}/{path.name}", set()).update(names)
    assert askers == {
        "retrieve/neighbours.py": {"DenseRetriever"},
        "tuning/search.py": {"FullTextRetriever", "DenseRetriever", "HybridRetriever", "ColbertReranker"},
        "operations/push.py": {"LanceRetriever"},
        "train/negatives.py": {"CrossEncoderReranker"},
    }
