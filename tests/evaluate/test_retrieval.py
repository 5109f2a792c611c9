from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragqa.errors import UsageError
from ragqa.evaluate.questions import JudgedQuestion, load_questions
from ragqa.evaluate.retrieval import document_scores, evaluate
from ragqa.pipeline import Pipeline
from ragqa.types import Hit, Passage


def test_questions_of_a_beir_folder_and_of_json_lines(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\n")
    lines = [json.dumps({"_id": "q1", "text": "why"}), json.dumps({"_id": "q2", "text": "not judged"})]
    (tmp_path / "queries.jsonl").write_text("\n".join(lines))
    assert load_questions(tmp_path) == [JudgedQuestion("q1", "why", {"d1": 2})]
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"question": "why", "relevant": ["d1"], "golden_answers": ["so"]}))
    assert load_questions(path) == [JudgedQuestion("1", "why", {"d1": 1}, ("so",))]
    path.write_text('{"question": "ok"}\n{"question": ""}')
    with pytest.raises(UsageError, match=r"questions.jsonl:2 has no question"):
        load_questions(path)


def test_a_document_counts_once_at_its_best_passage() -> None:
    def hit(document: str, rank: int) -> Hit:
        return Hit(Passage(rank, document, rank, 0, 1, "", (), "", "", {}), rank, 0.0, {})

    assert document_scores([hit("a", 1), hit("a", 2), hit("b", 3)]) == {"a": 1.0, "b": 1 / 3}


def test_metrics_of_a_small_set_are_those_worked_out_by_hand(db: Path) -> None:
    pipeline = Pipeline.from_config("fts", db)
    questions = [
        JudgedQuestion("1", "How warm is green tea steeped?", {"tea.html": 1}),
        JudgedQuestion("2", "What mends a tyre?", {"coffee.md": 1}),
        JudgedQuestion("3", "nothing judged", {}),
    ]
    result = evaluate(pipeline, questions, ["RR@10", "Success@1"])
    assert result.questions == 2
    assert result.metrics == {"RR@10": 0.5, "Success@1": 0.5}
    with pytest.raises(UsageError, match="does not know"):
        evaluate(pipeline, questions, ["nonsense@3"])
    with pytest.raises(UsageError, match="nothing to measure"):
        evaluate(pipeline, questions[2:], ["RR@10"])
    pipeline.close()
