from __future__ import annotations

import pytest

from ragqa.config import StageSettings
from ragqa.corpus.database import Corpus
from ragqa.encoders.device import Compute
from ragqa.errors import UsageError
from ragqa.retrieve.fts import FullTextRetriever, full_text_indexes
from ragqa.search.contracts import Resources
from ragqa.search.registry import make_retriever


def retriever(corpus: Corpus, **options: object) -> FullTextRetriever:
    stage = StageSettings(type="fts", **options)  # type: ignore[arg-type]
    made = make_retriever(stage, Resources(corpus, Compute("cpu"), print))
    assert isinstance(made, FullTextRetriever)
    return made


def write(corpus: Corpus, statement: str) -> None:
    with corpus.transaction():
        corpus.connection.execute(statement)


def test_the_best_passage_comes_first_with_falling_scores(corpus: Corpus) -> None:
    hits = retriever(corpus).search("How many grams of beans for a litre of water?", 10)
    assert hits[0].passage.document_id == "coffee.md"
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].scores == {"fts": hits[0].score}


def test_the_index_follows_every_change_of_the_corpus(corpus: Corpus) -> None:
    fts = retriever(corpus)
    assert fts.search("tomatoes", 5)
    write(corpus, "UPDATE passages SET text = 'Aubergines' WHERE text LIKE 'Tomatoes%'")
    assert not fts.search("tomatoes", 5)
    assert fts.search("aubergines", 5)
    corpus.remove(["garden.txt"])
    assert not fts.search("aubergines", 5)
    write(corpus, f"INSERT INTO {fts.table} ({fts.table}, rank) VALUES ('integrity-check', 1)")


def test_weights_decide_between_title_and_text(corpus: Corpus) -> None:
    write(corpus, "UPDATE passages SET title = 'zebra' WHERE text LIKE 'Tomatoes%'")
    write(corpus, "UPDATE passages SET text = text || ' zebra' WHERE title = 'Brewing tea'")
    by_title = retriever(corpus, weights={"title": 9.0, "text": 0.1}).search("zebra", 2)
    by_text = retriever(corpus, weights={"title": 0.1, "text": 9.0}).search("zebra", 2)
    assert [hit.passage.document_id for hit in by_title] == ["garden.txt", "tea.html"]
    assert [hit.passage.document_id for hit in by_text] == ["tea.html", "garden.txt"]


def test_each_tokenizer_has_an_index_of_its_own(corpus: Corpus) -> None:
    assert retriever(corpus).search("tomato", 5)
    exact = retriever(corpus, tokenizer="unicode61")
    assert not exact.search("tomato", 5)
    assert {index["tokenizer"] for index in full_text_indexes(corpus)} == {"porter unicode61", "unicode61"}


def test_a_tokenizer_that_fts5_lacks_is_said(corpus: Corpus) -> None:
    with pytest.raises(UsageError, match="no tokenizer 'klingon'"):
        retriever(corpus, tokenizer="klingon").search("tea", 5)
    assert corpus.document("tea.html") is not None


def test_a_question_without_words_finds_nothing(corpus: Corpus) -> None:
    assert retriever(corpus).search("?!", 5) == []
