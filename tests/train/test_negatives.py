from __future__ import annotations

from pathlib import Path

import pytest

from ragqa.errors import UsageError
from ragqa.pipeline import Pipeline
from ragqa.train.negatives import FIRST, competitors, fusion_teacher, likeness, mine
from ragqa.train.pairs import heading_pairs
from tests.conftest import fill


@pytest.fixture
def kettles(tmp_path: Path) -> Path:
    """Twelve notes on kettles, two of which say the same, and one on something else."""
    folder = tmp_path / "kettles"
    folder.mkdir()
    for number in range(12):
        said = (
            "blue and small and quick" if number in (3, 4) else f"of kind {'abcdefghijkl'[number]} from here"
        )
        text = f"The kettle boils water for tea in the kitchen every day, it is {said} and {said}."
        (folder / f"kettle{number}.md").write_text(f"# Kettle number {number} boils\n\n{text}\n")
    (folder / "moon.md").write_text(
        "# The far moon\n\nCraters and dust and silence are all that is up there.\n"
    )
    fill(tmp_path / "kettles.db", folder)
    return tmp_path / "kettles.db"


def test_negatives_rank_high_and_are_neither_answers_nor_near_duplicates(kettles: Path) -> None:
    with Pipeline.from_config("fts", kettles) as pipeline:
        pairs = [pair for pair in heading_pairs(pipeline.corpus) if pair.document_id == "kettle3.md"]
        (example,) = mine(pipeline, pairs, 9)
        hits = pipeline.candidates(pairs[0].query).hits
    positive, *negatives = example.texts
    assert "blue and small" in positive
    assert len(set(negatives)) == 9
    assert not any("blue" in text for text in negatives)
    assert all("kettle boils water" in text for text in negatives)
    # What is the question is hidden in the negatives, too: else its absence would mark the answer.
    assert not any(text.startswith("Kettle number") for text in example.texts)
    # The best of the others is left out.
    others = [hit.passage.text for hit in hits if hit.passage.document_id not in ("kettle3.md", "kettle4.md")]
    assert others[FIRST - 2].split("\n")[-1] not in " ".join(negatives)


def test_documents_that_are_held_back_are_no_negatives(kettles: Path) -> None:
    held = {f"kettle{number}.md" for number in range(6)}
    with Pipeline.from_config("fts", kettles) as pipeline:
        pairs = [pair for pair in heading_pairs(pipeline.corpus) if pair.document_id == "kettle9.md"]
        (example,) = mine(pipeline, pairs, 5, left_out=held)
    assert not any(f"of kind {letter} " in " ".join(example.texts[1:]) for letter in "abcdef")


def test_passages_of_the_whole_corpus_join_where_too_few_are_found(kettles: Path) -> None:
    with Pipeline.from_config("fts", kettles) as pipeline:
        pairs = [pair for pair in heading_pairs(pipeline.corpus) if pair.document_id == "moon.md"]
        (example,) = mine(pipeline, pairs, 3)
        assert mine(pipeline, pairs, 3) == [example]
        everything = {f"kettle{number}.md" for number in range(12)}
        with pytest.raises(UsageError, match="^Every document answers 'The far moon'"):
            mine(pipeline, pairs, 3, left_out=everything)
    assert len(example.texts) == 4
    assert not any("Craters" in text for text in example.texts[1:])


def test_the_fused_ranking_can_be_the_teacher(kettles: Path) -> None:
    with Pipeline.from_config("fts", kettles) as pipeline:
        pairs = [pair for pair in heading_pairs(pipeline.corpus) if pair.document_id == "kettle9.md"]
        (example,) = mine(pipeline, pairs, 3, teacher=fusion_teacher)
        by_id = {hit.passage.id: hit.score for hit in pipeline.candidates(pairs[0].query).hits}
    assert len(example.scores) == 4
    assert example.scores[0] == by_id["kettle9.md#0"] == max(example.scores)
    assert set(example.scores) <= set(by_id.values())


def test_a_pair_that_the_teacher_does_not_find_is_left_out(kettles: Path) -> None:
    with Pipeline.from_config("fts", kettles) as pipeline:
        pairs = [pair for pair in heading_pairs(pipeline.corpus) if pair.document_id == "moon.md"]
        with pytest.raises(UsageError, match="^The first stage finds the answer of no training pair"):
            mine(pipeline, pairs, 2, teacher=lambda query, texts, hits: None)


def test_rivals_are_taken_rank_by_rank(kettles: Path) -> None:
    with Pipeline.from_config("fts", kettles) as pipeline:
        pairs = heading_pairs(pipeline.corpus)
        firsts = {pipeline.candidates(pair.query).hits[0].passage.id for pair in pairs}
        found = [passage.id for passage in competitors(pipeline, pairs, len(firsts))]
    assert set(found) == firsts


def test_likeness_is_of_words() -> None:
    assert likeness("A flat tyre.", "a FLAT tyre") == 1
    assert likeness("a flat tyre", "green tea leaves") == 0
    assert likeness("a b c", "b c d") == pytest.approx(0.5)
