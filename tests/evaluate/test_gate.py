from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ragqa.corpus.database import Corpus
from ragqa.errors import UsageError
from ragqa.evaluate.gate import check_indexed, judge_run, needs_answers
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.runs import RankedPassage, Reply, Result, Run, RunInfo, RunKey
from ragqa.evaluate.significance import holm
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline

from ..conftest import fill

COUNT = 30
QUESTIONS = tuple(JudgedQuestion(f"q{n}", f"question {n}", {"a": 1}, ("60 grams",)) for n in range(COUNT))


def make_run(number: int, ranks: Sequence[int], text: str | None = None) -> Run:
    """Return a run with the relevant document at these ranks."""
    results = {}
    for place, rank in enumerate(ranks):
        documents = [*[f"x{n}" for n in range(rank - 1)], "a"]
        ranking = tuple(RankedPassage(d, f"{d}#0", -n, {}) for n, d in enumerate(documents))
        results[place] = Result("done", ranking, {}, None if text is None else Reply(text, False))
    key = RunKey("set", "yaml", "corpus", None if text is None else "fake", {}, "", 100, "1")
    info = RunInfo(number, 1, f"run{number}", "2026-01-01", key, "default", "a.db", 0, "cpu", {}, {})
    return Run(info, QuestionSet("set", QUESTIONS), results)


BEFORE = make_run(1, [1] * COUNT)
# Worse in rank on a third of the questions, so that recall stays.
WORSE = make_run(2, [2] * 10 + [1] * (COUNT - 10))


def test_an_equal_run_passes() -> None:
    gate = judge_run(BEFORE, make_run(2, [1] * COUNT), [])
    assert gate.losses == []
    assert [one.metric for one in gate.differences] == ["nDCG@10", "R@100", "RR@10", "Success@5"]
    assert {one.adjusted_p for one in gate.differences} == {1.0}


def test_a_run_that_loses_on_many_questions_fails() -> None:
    gate = judge_run(BEFORE, WORSE, [])
    assert [one.metric for one in gate.losses] == ["nDCG@10", "RR@10"]
    assert all(one.mean.value < 0 and one.losses == 10 for one in gate.losses)


def test_a_loss_on_few_questions_could_be_chance() -> None:
    gate = judge_run(BEFORE, make_run(2, [2] * 4 + [1] * (COUNT - 4)), ["RR@10"])
    assert gate.differences[0].mean.value < 0
    assert gate.losses == []


def test_a_gain_is_no_loss() -> None:
    gate = judge_run(WORSE, BEFORE, ["RR@10"])
    assert gate.differences[0].significant
    assert gate.losses == []


def test_p_values_are_corrected_for_the_number_of_metrics() -> None:
    # All of six questions are worse, which chance does once in 32.
    worse = make_run(2, [2] * 6 + [1] * (COUNT - 6))
    alone = judge_run(BEFORE, worse, ["RR@10"])
    assert alone.differences[0].p == alone.differences[0].adjusted_p == 1 / 32
    assert alone.losses
    names = ["RR@10", "nDCG@10", "P@1", "R@100"]
    together = judge_run(BEFORE, worse, names)
    assert [one.metric for one in together.differences] == names
    assert [one.adjusted_p for one in together.differences] == holm([1 / 32, 1 / 32, 1 / 32, 1.0])
    assert together.losses == []


def test_a_baseline_from_a_file_may_have_the_number_of_the_run() -> None:
    assert judge_run(BEFORE, make_run(1, [2] * COUNT), ["RR@10"]).losses


def test_metrics_are_known_in_any_case() -> None:
    before, now = make_run(1, [1] * COUNT, "60 grams"), make_run(2, [1] * COUNT, "70 pounds")
    gate = judge_run(before, now, ["em", "rouge-l"])
    assert [one.metric for one in gate.losses] == ["EM", "ROUGE-L"]


def test_by_default_metrics_that_only_the_baseline_has_are_left_out() -> None:
    gate = judge_run(make_run(1, [1] * COUNT, "60 grams"), make_run(2, [1] * COUNT), [])
    assert [one.metric for one in gate.differences] == ["nDCG@10", "R@100", "RR@10", "Success@5"]


@pytest.mark.parametrize("names", [["EM"], ["RR@10", "EM"], ["Judge"]])
def test_a_metric_that_the_runs_do_not_have_is_refused(names: list[str]) -> None:
    with pytest.raises(UsageError, match=f"run1 and run2 have no values in common for {names[-1]}"):
        judge_run(make_run(1, [1] * COUNT, "60 grams"), WORSE, names)


def test_metrics_of_answers_need_answers() -> None:
    assert needs_answers(["RR@10", "rouge-l"])
    assert needs_answers(["Judge"])
    assert not needs_answers(["RR@10"])


def test_a_corpus_that_is_not_indexed_is_refused_with_the_command(tmp_path: Path, notes: Path) -> None:
    db = tmp_path / "bare.db"
    fill(db, notes)
    pipeline = Pipeline.from_config("default", db)
    with pytest.raises(UsageError, match=r"passages of .*bare\.db are not indexed.*ragqa index -c default"):
        check_indexed(pipeline)
    build_index(pipeline)
    check_indexed(pipeline)
    pipeline.close()


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    Corpus.open(tmp_path / "empty.db", create=True).close()
    pipeline = Pipeline.from_config("fts", tmp_path / "empty.db")
    with pytest.raises(UsageError, match=r"empty\.db is empty: ragqa ingest"):
        check_indexed(pipeline)
    pipeline.close()
