from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ragqa.corpus.database import Corpus
from ragqa.errors import RagqaError
from ragqa.train.written import (
    WrittenQuestions,
    default_file,
    sample_passages,
    usable_question,
    written_pairs,
)

PASSAGE = "Use 60 grams of beans for one litre of water, and grind them medium for a paper filter."


def asking(fake_models: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, fails_at: int = -1) -> Any:
    """Let the fake model write a question, another each time, and fail at one of them."""
    model = fake_models.answering

    def execute(prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        model.prompts.append(prompt)
        if len(model.prompts) - 1 == fails_at:
            raise RuntimeError("the server hung up")
        yield f"What is thing number {len(model.prompts)} good for?"

    monkeypatch.setattr(model, "execute", execute)
    return model


def test_each_passage_gets_a_question_and_is_asked_about_once(
    puzzles_db: Path, tmp_path: Path, fake_models: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = asking(fake_models, monkeypatch)
    with Corpus.open(puzzles_db) as corpus, WrittenQuestions(tmp_path / "written.db") as kept:
        passages = _any_passages(corpus)[:5]
        told: list[tuple[int, int | None]] = []
        pairs = written_pairs(model, passages, kept, lambda done, total: told.append((done, total)))
        assert written_pairs(model, passages, kept) == pairs
    assert len(model.prompts) == 5
    assert told[-1] == (5, 5)
    assert pairs[0].query == "What is thing number 1 good for?"
    assert {pair.origin for pair in pairs} == {"model:fake"}
    assert passages[0].text.strip() in model.prompts[0].prompt


def test_a_run_that_failed_goes_on_where_it_was(
    puzzles_db: Path, tmp_path: Path, fake_models: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = asking(fake_models, monkeypatch, fails_at=3)
    with Corpus.open(puzzles_db) as corpus:
        passages = _any_passages(corpus)[:6]
        with WrittenQuestions(tmp_path / "written.db") as kept, pytest.raises(RagqaError, match="hung up"):
            written_pairs(model, passages, kept)
        assert len(model.prompts) == 4
        with WrittenQuestions(tmp_path / "written.db") as kept:
            pairs = written_pairs(model, passages, kept)
    assert len(pairs) == 6
    # Three were kept; the failed one and two more were asked.
    assert len(model.prompts) == 7


def test_another_passage_or_model_is_asked_anew(
    puzzles_db: Path, tmp_path: Path, fake_models: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = asking(fake_models, monkeypatch)
    with Corpus.open(puzzles_db) as corpus, WrittenQuestions(tmp_path / "written.db") as kept:
        first, second, *_ = _any_passages(corpus)
        written_pairs(model, [first], kept)
        written_pairs(model, [second], kept)
        monkeypatch.setattr(model, "model_id", "fake-2")
        written_pairs(model, [first], kept)
    assert len(model.prompts) == 3


@pytest.mark.parametrize(
    "said",
    [
        "How much coffee goes into a litre?",
        '"How much coffee goes into a litre?"\n',
        "一升水需要多少咖啡豆？",
    ],
)
def test_a_question_on_one_line_is_used(said: str) -> None:
    assert usable_question(said, PASSAGE) == said.strip().strip('"')


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Coffee wants 60 grams.",
        "How much coffee?\nHow much water?",
        "Question: here it is\n\nHow much coffee goes into a litre?",
        "Why?",
        "Is it so that use 60 grams of beans for one litre of water?",
        "What does this passage say of coffee?",
        "How " + "very " * 50 + "much?",
    ],
)
def test_what_is_no_question_or_a_copy_is_not(said: str) -> None:
    assert usable_question(said, PASSAGE) is None


def test_passages_are_drawn_over_all_documents(corpus: Corpus) -> None:
    drawn = sample_passages(corpus, 3, 0)
    assert len({passage.document_id for passage in drawn}) == len(drawn) > 0
    assert sample_passages(corpus, 3, 0) == drawn


def test_questions_are_kept_in_the_users_data(isolated_user: Path) -> None:
    assert isolated_user in default_file().parents


def _any_passages(corpus: Corpus) -> Any:
    from ragqa.train.pairs import all_passages

    return list(all_passages(corpus))
