from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from ragqa.errors import UsageError
from ragqa.evaluate.comparison import Change, changes, compare_runs, latency, summarise
from ragqa.evaluate.metrics import parse_metrics
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.runs import RankedPassage, Reply, Result, Run, RunInfo, RunKey

QUESTIONS = tuple(
    JudgedQuestion(f"q{n}", f"question {n}", {"a": 1}, ("60 grams",) if n < 2 else ()) for n in range(4)
)


def at(rank: int | None, reply: Reply | None = None, **timings_ms: float) -> Result:
    """Return a result with the relevant document at this rank, or without it."""
    documents = ["x", "y", "z", "w"] if rank is None else [*["x", "y", "z"][: rank - 1], "a"]
    ranking = tuple(RankedPassage(document, f"{document}#0", -n, {}) for n, document in enumerate(documents))
    return Result("done", ranking, timings_ms, reply)


def make_run(
    number: int,
    results: Sequence[Result] | Mapping[int, Result],
    questions: Sequence[JudgedQuestion] = QUESTIONS,
    name: str = "",
) -> Run:
    placed = dict(results) if isinstance(results, Mapping) else dict(enumerate(results))
    model = "fake" if any(result.reply for result in placed.values()) else None
    key = RunKey("set", "yaml", "corpus", model, {}, "prompt", 100, "1")
    info = RunInfo(number, 1, name or f"run{number}", "2026-01-01", key, "default", "a.db", 0, "cpu", {}, {})
    return Run(info, QuestionSet("set", tuple(questions)), placed)


A = make_run(1, [at(1), at(2), at(None), at(1)])
B = make_run(2, [at(1), at(1), at(2), at(2)])
C = make_run(3, [at(2), at(2), at(2), at(2)])


def test_a_difference_is_the_second_run_less_the_first() -> None:
    (one,) = compare_runs([A, B], ["RR@10"])
    assert (one.a, one.b, one.metric) == ("run1", "run2", "RR@10")
    assert one.mean.value == pytest.approx((0 + 0.5 + 0.5 - 0.5) / 4)
    assert (one.wins, one.ties, one.losses, one.mean.count) == (2, 1, 1, 4)


def test_all_pairs_are_compared_metric_by_metric() -> None:
    found = compare_runs([A, B, C], ["RR@10", "R@100"])
    pairs = [("run1", "run2"), ("run1", "run3"), ("run2", "run3")]
    assert [(one.metric, one.a, one.b) for one in found] == [
        (metric, a, b) for metric in ("RR@10", "R@100") for a, b in pairs
    ]


def test_with_a_baseline_every_other_run_is_compared_to_it() -> None:
    found = compare_runs([A, B, C], ["RR@10"], baseline=B)
    assert [(one.a, one.b) for one in found] == [("run2", "run1"), ("run2", "run3")]
    assert [one.mean.value for one in found] == pytest.approx([-0.125, -0.25])


def test_runs_are_compared_over_the_questions_that_they_share_wherever_those_stand() -> None:
    other = (JudgedQuestion("new", "new", {"a": 1}), QUESTIONS[1], QUESTIONS[0])
    shuffled = make_run(2, [at(None), at(1), at(None)], other)
    (one,) = compare_runs([A, shuffled], ["RR@10"])
    # Of question 1 that is 1 less 1/2, and of question 0 it is 0 less 1.
    assert (one.mean.count, one.mean.value) == (2, pytest.approx(-0.25))
    assert changes(A, shuffled, "RR@10") == [Change(0, 1.0, 0.0), Change(1, 0.5, 1.0)]


def test_a_question_with_the_same_id_and_another_text_is_another_question() -> None:
    reworded = (replace(QUESTIONS[0], text="in other words"), *QUESTIONS[1:])
    (one,) = compare_runs([A, make_run(2, [at(1)] * 4, reworded)], ["RR@10"])
    assert one.mean.count == 3


def test_a_question_that_failed_in_one_run_is_left_out_of_answers_alone() -> None:
    right, wrong = Reply("60 grams", False), Reply("70 grams", False)
    failed = Result("failed", at(1).ranking, {}, None, "the server hung up")
    a = make_run(1, [at(1, right), at(1, wrong)], QUESTIONS[:2])
    b = make_run(2, {0: failed, 1: at(1, right)}, QUESTIONS[:2])
    answers, ranks = compare_runs([a, b], ["EM", "RR@10"])
    assert (answers.mean.count, answers.mean.value) == (1, 1.0)
    assert (ranks.mean.count, ranks.mean.value) == (2, 0.0)


def test_runs_without_a_common_question_cannot_be_compared() -> None:
    other = make_run(2, [at(1)], [JudgedQuestion("else", "else", {"a": 1})])
    for compared in (lambda: compare_runs([A, other]), lambda: changes(A, other, "RR@10")):
        with pytest.raises(UsageError, match="runs run1 and run2 have no question in common"):
            compared()


def test_a_single_run_is_nothing_to_compare() -> None:
    with pytest.raises(UsageError, match="nothing to compare: name two runs"):
        compare_runs([A])


def test_the_largest_change_comes_first_and_equals_are_left_out() -> None:
    found = changes(A, make_run(2, [at(None), at(1), at(2), at(1)]), "RR@10")
    assert found == [Change(0, 1.0, 0.0), Change(1, 0.5, 1.0), Change(2, 0.0, 0.5)]


def test_runs_of_one_name_have_their_numbers_with_it() -> None:
    same = [make_run(1, A.results, name="fts"), make_run(2, B.results, name="fts"), C]
    assert [row.label for row in summarise(same)] == ["1 fts", "2 fts", "run3"]
    assert [(one.a, one.b) for one in compare_runs(same, ["RR@10"])] == [
        ("1 fts", "2 fts"),
        ("1 fts", "run3"),
        ("2 fts", "run3"),
    ]


def test_a_run_from_elsewhere_with_the_same_number_is_another_run() -> None:
    (one,) = compare_runs([A, make_run(1, C.results)], ["RR@10"])
    assert one.mean.value == pytest.approx(0.5 - 2.5 / 4)


def test_a_summary_has_means_times_tokens_and_cost() -> None:
    said = Reply("60 grams", False, input_tokens=10, output_tokens=5, cost=0.25)
    silent = Reply("no", False)
    failed = Result("failed", (), {"fts": 1000.0}, None, "the server hung up")
    run = make_run(1, [at(1, said, fts=1.0, model=10.0), at(2, silent, fts=3.0, model=20.0), failed])
    (row,) = summarise([run], parse_metrics(["RR@10", "EM", "Judge"]))
    assert set(row.means) == {"RR@10", "EM"}
    assert (row.means["RR@10"].value, row.means["RR@10"].count) == (pytest.approx(0.5), 3)
    assert (row.means["EM"].value, row.means["EM"].count) == (0.5, 2)
    assert (row.tokens, row.cost) == (15, 0.25)
    # A call that failed has no time of the model, and so no total.
    assert row.latency_ms == {
        "fts": (2.0, pytest.approx(2.9)),
        "model": (15.0, pytest.approx(19.5)),
        "total": (17.0, pytest.approx(22.4)),
    }
    (bare,) = summarise([A])
    assert (bare.tokens, bare.cost, bare.latency_ms["total"]) == (None, None, (0.0, 0.0))
    assert set(bare.means) == {"nDCG@10", "R@100", "RR@10", "Success@5"}


def test_latency_is_the_median_and_the_95th_percentile() -> None:
    run = make_run(1, [at(1, fts=float(n)) for n in range(4)])
    expected = (1.5, float(np.quantile([0, 1, 2, 3], 0.95)))
    assert latency(run) == {"fts": expected, "total": expected}
