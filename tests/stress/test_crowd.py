"""A small crowd; `python -m tests.stress.crowd` has twenty readers."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ragqa.pipeline import Pipeline
from tests.stress.crowd import Asked, answer_faults, ask, crowd, passages, search_faults, two_writers
from tests.stress.material import Yard

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    return Yard(tmp_path_factory.mktemp("yard"), notes=6)


def test_readers_beside_a_writer_get_consistent_answers(yard: Yard) -> None:
    asked = crowd(yard, readers=4, rounds=1)
    assert asked.faults == []
    assert asked.counts["searched"] > 4
    assert asked.counts["answered"] >= 1
    assert asked.counts["writers"] == 2


def test_a_passage_of_no_state_and_a_citation_of_it_are_faults(db: Path) -> None:
    question = "How many grams of beans for one litre of water?"
    known = passages(db)
    with Pipeline.from_config("fts", db) as pipeline:
        answer = pipeline.ask(question, model="extractive", log=False)
    assert answer.citations
    assert search_faults(answer.search, known) == answer_faults(answer, known) == []
    cited = answer.citations[0].passage
    # As if another document had it, and as if it had another text.
    for stranger in (("tea.html", cited.text), (cited.document_id, f"{cited.text} Changed.")):
        others = known - {(cited.document_id, cited.text)} | {stranger}
        assert [fault.split()[0] for fault in search_faults(answer.search, others)] == [cited.id]
        assert [fault.split()[0] for fault in answer_faults(answer, others)] == [cited.id]
    assert len(answer_faults(replace(answer, citations=()), known)) == 1
    assert answer_faults(replace(answer, citations=(), refused="model"), known) == []


def test_a_reader_tells_of_what_it_finds_and_of_a_corpus_that_it_cannot_open(
    db: Path, tmp_path: Path
) -> None:
    class Once(threading.Event):
        """Set once it was asked about."""

        def is_set(self) -> bool:
            was = super().is_set()
            self.set()
            return was

    asked = Asked()
    ask(db, "fts", ["Which beans?"], frozenset(), Once(), asked)
    assert asked.counts == {"searched": 1, "answered": 1}
    assert asked.faults
    assert all(" is of no state of the corpus: " in fault for fault in asked.faults)
    asked = Asked()
    ask(tmp_path / "nowhere.db", "fts", ["Which beans?"], frozenset(), Once(), asked)
    (fault,) = asked.faults
    assert fault.startswith("fts: a reader cannot open the corpus: ")


def test_of_two_writers_one_waits_or_is_told(yard: Yard) -> None:
    asked = two_writers(yard, times=1)
    assert asked.faults == []
    assert asked.counts["stopped with a sentence"] >= 1
