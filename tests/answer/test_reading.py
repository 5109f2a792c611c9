from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ragqa.answer.reading import READ, ROOM, PassageReader, read_texts
from ragqa.encoders.embedded.vocabulary import count_tokens
from ragqa.encoders.onnx_engine import LeanPairs
from ragqa.pipeline import Pipeline

QUESTION = "How many grams of beans for one litre of water?"
PAIRS = LeanPairs()


def test_the_sentence_that_answers_has_most_of_the_evidence_and_all_shares_are_one(db: Path) -> None:
    with Pipeline.from_config("fts", db) as pipeline:
        passages = [hit.passage for hit in pipeline.search(QUESTION).hits]
    read = PassageReader(QUESTION, lambda: PAIRS).read(passages)
    assert len(read) == min(len(passages), READ)
    found = [(one.share, text.text[one.unit.start : one.unit.end]) for text in read for one in text.evidence]
    share, said = max(found)
    assert "60 grams" in said
    assert share > 0.5
    assert 0.9 < sum(share for share, _ in found) <= 1.001
    assert read[0].score == max(text.score for text in read)


def test_the_worked_example_is_what_is_read(db: Path) -> None:
    question = "How warm is green tea steeped?"
    with Pipeline.from_config("default", db) as pipeline:
        passages = [hit.passage for hit in pipeline.search(question).hits]
    read = PassageReader(question, lambda: PAIRS).read(passages)
    shares = sorted((found.share for text in read for found in text.evidence), reverse=True)
    assert shares[:3] == pytest.approx([0.92, 0.08, 0.0], abs=0.02)


def test_a_passage_is_read_alone_and_so_always_alike() -> None:
    texts = ["Use 60 grams of beans.", "Green tea is steeped at 70 degrees. It is mild.", "Rain."]
    together = PAIRS.read(QUESTION, texts)
    for text, reading in zip(texts, together, strict=True):
        (alone,) = PAIRS.read(QUESTION, [text])
        assert np.array_equal(alone.evidence, reading.evidence)
        assert alone.score == reading.score
    assert [reading.score for reading in together] == PAIRS.scores(QUESTION, texts)


def test_a_heading_and_a_question_hand_their_evidence_on() -> None:
    text = "# How many grams of beans?\n\nHow many grams? Use 60 of them."
    (read,) = read_texts(PAIRS, QUESTION, [(text, 0)])
    assert [found.unit.kind for found in read.evidence] == ["heading", "sentence", "sentence"]
    assert [round(found.share, 3) for found in read.evidence] == [0, 0, 1]


def test_a_text_that_is_too_long_for_a_pair_is_read_to_its_end() -> None:
    filler = "The weather was fine on that day, and nobody complained about it. " * 60
    text = f"{filler}\n\nUse 60 grams of beans for one litre of water."
    assert count_tokens(text) > ROOM
    (read,) = read_texts(PAIRS, QUESTION, [(text, 0)])
    best = max(read.evidence, key=lambda found: found.share)
    assert "60 grams" in text[best.unit.start : best.unit.end]
    assert best.share > 0.5


@pytest.mark.parametrize("texts", [[], [("", 0)], [("Title\n", 6)], [("   \n", 0)]])
def test_nothing_to_read_is_no_evidence(texts: list[tuple[str, int]]) -> None:
    read = read_texts(PAIRS, QUESTION, texts)
    assert len(read) == len(texts)
    assert not any(found.share for text in read for found in text.evidence)
