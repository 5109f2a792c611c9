from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ragqa.answer import answerable
from ragqa.answer.answerable import PASSAGES, Signals, hits_evidence, score, stands_out, unmet
from ragqa.answer.evidence import EvidenceReader
from ragqa.encoders.embedded.colbert_small import COLBERT_SMALL
from ragqa.encoders.embedded.vocabulary import tokenizer
from ragqa.matching.encoded import EncodedText, encoded_question
from ragqa.pipeline import Pipeline

answerability = partial(answerable.answerability, fitted=COLBERT_SMALL.fitted)
signals = partial(answerable.signals, fitted=COLBERT_SMALL.fitted)


@pytest.fixture(params=["default", "fts"])
def pipeline(request: pytest.FixtureRequest, db: Path) -> Iterator[Pipeline]:
    opened = Pipeline.from_config(request.param, db)
    yield opened
    opened.close()


def judged(pipeline: Pipeline, question: str, reader: EvidenceReader | None = None) -> float:
    reader = reader or EvidenceReader(lambda: pipeline.check_source)
    encoded = encoded_question(pipeline.check_source.encoder, question)
    return answerability(encoded, hits_evidence(reader, pipeline.search(question).hits))


def holding(*rows: Sequence[float]) -> EncodedText:
    """Return evidence of these token vectors."""
    return EncodedText("text", np.array(rows, np.float32), np.zeros((len(rows), 2), np.int32))


def one_vector_each(question: str) -> EncodedText:
    """Return a question of which each token has a vector of its own, with nothing of the others in it."""
    encoded = tokenizer().encode(question)
    spans = np.array(encoded.offsets, np.int32).reshape(-1, 2)
    return EncodedText(question, np.eye(len(encoded.ids), dtype=np.float32), spans)


@pytest.mark.parametrize(
    "question", ["How warm is green tea steeped?", "what mends a flat tyre", "when to water tomatoes"]
)
def test_a_question_that_a_passage_answers_is_answerable(pipeline: Pipeline, question: str) -> None:
    assert judged(pipeline, question) > COLBERT_SMALL.fitted.refuse_below


@pytest.mark.parametrize(
    "question", ["Who painted the Mona Lisa with oil?", "how do I water down a constitutional amendment"]
)
def test_one_that_shares_a_word_with_a_passage_is_not(pipeline: Pipeline, question: str) -> None:
    assert pipeline.search(question).hits
    assert judged(pipeline, question) < COLBERT_SMALL.fitted.refuse_strictly_below


def test_nothing_found_answers_nothing() -> None:
    assert answerability(one_vector_each("tea"), []) == 0.0
    empty = EncodedText("", np.zeros((0, 3), np.float32), np.zeros((0, 2), np.int32))
    assert answerability(one_vector_each("tea"), [empty]) == 0.0
    assert answerability(empty, [holding([1, 0, 0])]) == 0.0


def test_signals_as_worked_out_by_hand() -> None:
    # Two vectors for three tokens: of another encoder, so that each counts the same.
    query = EncodedText("tea", np.eye(2, dtype=np.float32), np.array([[0, 1], [1, 3]], np.int32))
    found = signals(query, [holding([0.5, 0], [0.25, 0.5]), holding([1, 0.5])])
    assert found is not None
    assert found.match == pytest.approx(0.75)
    # The other passage is 0.25 behind, and eight places are empty.
    assert found.lead == pytest.approx((0.25 + 8 * COLBERT_SMALL.fitted.typical_lead) / 9)


def test_a_rare_word_counts_more_than_a_frequent_one() -> None:
    question = "the asteroid"
    query = one_vector_each(question)
    start, the, rare, end = query.vectors
    matches = []
    for vector in (start, the, rare, end):
        found = signals(query, [holding(vector)])
        assert found is not None
        matches.append(found.match)
    assert matches[0] == matches[3] == 0
    assert 0 < 3 * matches[1] < matches[2]
    assert matches[1] + matches[2] == pytest.approx(1)


def test_the_order_of_passages_does_not_count_and_only_so_many_are_read() -> None:
    question = "green tea"
    query = one_vector_each(question)
    found = [holding([0.1 * n, 0.2, 0.05 * n, 0.3]) for n in range(PASSAGES)]
    value = answerability(query, found)
    assert answerability(query, found[::-1]) == pytest.approx(value)
    assert answerability(query, [*found, holding([1, 1, 1, 1])]) == value
    assert answerability(query, [holding([1, 1, 1, 1]), *found]) > value


def test_more_of_either_signal_is_likelier_answerable() -> None:
    weights = (-2.0, 3.0, 1.0)
    assert score(Signals(0.5, 0.5), weights) == pytest.approx(0.5)
    assert score(Signals(0.6, 0.5), weights) > score(Signals(0.5, 0.6), weights) > 0.5


@pytest.mark.parametrize(
    ("question", "text", "lacking"),
    [
        ("what did 1.0.21 fix?", "Version 1.0.12 fixes the lamp. Item 21.", ["1.0.21"]),
        ("what did 1.0.21 fix?", "In v1.0.21: the lamp.", []),
        ("what did v1.0.2 fix?", "Version 1.0.21 fixes the lamp.", ["1.0.2"]),
        ("what is new in 1.0a13", "Released 1.0a13.", []),
        ("what is new in 1.0a13", "Released 1.0a12.", ["1.0a13"]),
        ("datetime in Python 3.11", "It is datetime.UTC.", []),
        ("ping 10.0.0.1, or 10.0.0.2?", "10.0.0.1 answers.", ["10.0.0.2"]),
        ("how many grams?", "60", []),
    ],
)
def test_a_version_has_to_be_met(question: str, text: str, lacking: list[str]) -> None:
    assert unmet(question, [text]) == lacking


def test_a_passage_stands_out_when_it_is_far_ahead_of_the_others() -> None:
    assert stands_out([-6.9, -11.1, -11.3])
    assert not stands_out([-6.9, -5.0, -6.0, -7.0, -8.0])
    assert not stands_out([-11.2, -11.3])
    assert stands_out([0.0])
    assert not stands_out([])


def test_each_passage_is_evidence_by_itself(pipeline: Pipeline) -> None:
    hits = pipeline.search("coffee water").hits
    found = hits_evidence(EvidenceReader(lambda: pipeline.check_source), hits)
    assert [part.text for part in found] == [hit.passage.text for hit in hits]
    assert all(len(part.vectors) == len(part.spans) > 0 for part in found)
