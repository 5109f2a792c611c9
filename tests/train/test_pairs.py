from __future__ import annotations

import re
from pathlib import Path

import pytest

from ragqa.corpus.database import Corpus
from ragqa.errors import UsageError
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.pipeline import Pipeline
from ragqa.train.pairs import (
    TrainingPair,
    heading_pairs,
    question_pairs,
    read_without,
    split,
    without_questions,
)
from tests.conftest import fill

NOTE = """# Keeping bees at home

Bees are kept in hives of wood that stand in the shade of trees all day.

## Feeding them in winter

In winter the bees are fed with a syrup of two parts sugar and one part water.

## Tools

A smoker, a hive tool and a veil are all that a beginner needs to have at hand.

## Links

[here](https://example.org)
"""


@pytest.fixture
def bees(tmp_path: Path) -> Corpus:
    folder = tmp_path / "notes"
    folder.mkdir()
    # So long that each section is a passage of its own.
    more = " They fly far and wide in summer." * 16
    (folder / "bees.md").write_text(re.sub(r"(all day|water|hand)\.", rf"\1.{more}", NOTE))
    fill(tmp_path / "bees.db", folder)
    return Corpus.open(tmp_path / "bees.db")


def pair(query: str, *relevant: str) -> TrainingPair:
    return TrainingPair(query, f"{relevant[0]}#0", relevant[0], f"text of {relevant[0]}", "test", relevant)


def test_titles_and_headings_are_questions_and_are_not_in_their_answers(bees: Corpus) -> None:
    with bees:
        pairs = {found.query: found for found in heading_pairs(bees)}
    title = pairs["Keeping bees at home"]
    assert (title.passage_id, title.hidden, title.relevant) == ("bees.md#0", "title", ("bees.md",))
    assert title.text.startswith("Bees are kept in hives")
    heading = pairs["Feeding them in winter"]
    assert heading.text.startswith("Keeping bees at home\nIn winter the bees are fed")
    assert "Feeding" not in heading.text


def test_a_short_heading_has_the_title_before_it_and_one_over_nothing_is_left_out(bees: Corpus) -> None:
    with bees:
        pairs = {found.query: found for found in heading_pairs(bees)}
    assert list(pairs) == [
        "Keeping bees at home",
        "Feeding them in winter",
        "Keeping bees at home: Tools",
    ]
    tools = pairs["Keeping bees at home: Tools"]
    assert tools.hidden == "both"
    assert tools.text.startswith("A smoker, a hive tool")


def test_what_is_hidden_is_hidden_in_other_passages_too(corpus: Corpus) -> None:
    (rowid,) = corpus.connection.execute(
        "SELECT p.rowid FROM passages p JOIN documents d ON d.rowid = p.document WHERE d.id = 'bicycle.md'"
    ).fetchone()
    (passage,) = corpus.passages([rowid])
    assert read_without(passage, "").startswith("# Repairing a bicycle")
    assert read_without(passage, "title").startswith("A flat tyre is mended")


def test_a_question_set_gives_the_passage_that_holds_its_answer(db: Path) -> None:
    questions = QuestionSet(
        "mine",
        (
            JudgedQuestion("1", "How much coffee for a litre?", {"coffee.md": 1}, ("60 grams",)),
            JudgedQuestion("2", "Who won the cup?", {}, (), unanswerable=True),
            JudgedQuestion("3", "How warm is green tea?", {"tea.html": 1, "absent.md": 1}),
        ),
    )
    with Pipeline.from_config("fts", db) as pipeline:
        pairs = question_pairs(pipeline, questions)
    assert [(found.query, found.document_id, found.origin) for found in pairs] == [
        ("How much coffee for a litre?", "coffee.md", "mine"),
        ("How warm is green tea?", "tea.html", "mine"),
    ]
    assert "60 grams" in pairs[0].text
    # A document that is relevant but not found is no negative either.
    assert pairs[1].relevant == ("tea.html", "absent.md")


def test_questions_about_other_documents_are_refused(db: Path) -> None:
    questions = QuestionSet("other", (JudgedQuestion("1", "How warm is green tea?", {"elsewhere": 1}),))
    with (
        Pipeline.from_config("fts", db) as pipeline,
        pytest.raises(UsageError, match="^No question of other"),
    ):
        question_pairs(pipeline, questions)


def test_no_document_is_on_both_sides_of_the_split() -> None:
    pairs = [pair(f"question {number}", f"d{number % 40}") for number in range(80)]
    pairs += [pair(f"between {number}", f"d{number}", f"d{number + 20}") for number in range(20)]
    parts = split(pairs, 0.25, seed=3)
    trained = {document for found in parts.training for document in found.relevant}
    held = {document for found in parts.held_back for document in found.relevant}
    assert trained.isdisjoint(held)
    assert held <= parts.held_back_documents
    assert len(parts.held_back_documents) == 10
    assert len(parts.training) + len(parts.held_back) + parts.between == len(pairs)
    assert parts.between > 0


def test_the_seed_decides_the_split() -> None:
    pairs = [pair(f"question {number}", f"d{number}") for number in range(60)]
    assert split(pairs, 0.2, 0) == split(pairs, 0.2, 0)
    assert split(pairs, 0.2, 0).held_back_documents != split(pairs, 0.2, 1).held_back_documents


def test_too_few_pairs_are_refused() -> None:
    pairs = [pair(f"question {number}", f"d{number}") for number in range(12)]
    with pytest.raises(UsageError, match="^There are 10 pairs to train on and 2 held back"):
        split(pairs, 0.2, 0)


def test_questions_that_are_compared_by_are_not_trained_on() -> None:
    pairs = [pair("How warm is tea?", "a"), pair("how warm is TEA", "b"), pair("What is oil?", "c")]
    pairs.append(pair("what is oil", "c"))
    assert without_questions(pairs, ["How warm is tea ?"]) == [pairs[2]]
