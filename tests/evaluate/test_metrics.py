from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Mapping, Sequence

import pytest

from ragqa.errors import UsageError
from ragqa.evaluate.metrics import (
    ANSWERS,
    default_metrics,
    document_scores,
    parse_metrics,
    qrels_of,
    ranked_documents,
    retrieval_values,
    values,
)
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.runs import RankedPassage, Reply, Result, Run, RunInfo, RunKey
from ragqa.types import Hit, Passage

QUESTIONS = (
    JudgedQuestion("q1", "how much", {"a": 2, "b": 1, "c": 0}, ("60 grams",)),
    JudgedQuestion("q2", "how warm", {"c": 1}, ("70 degrees",)),
    JudgedQuestion("q3", "how dear", {}, unanswerable=True),
)


def ranking(documents: Sequence[str]) -> tuple[RankedPassage, ...]:
    return tuple(RankedPassage(document, f"{document}#{n}", -n, {}) for n, document in enumerate(documents))


def done(documents: Sequence[str], text: str | None = None, refused: bool = False, *cited: str) -> Result:
    return Result("done", ranking(documents), {}, None if text is None else Reply(text, refused, cited))


def make_run(results: Mapping[int, Result], grades: Mapping[str, Mapping[int, float]] | None = None) -> Run:
    model = "fake" if any(result.reply for result in results.values()) else None
    key = RunKey("set", "yaml", "corpus", model, {}, "prompt", 100, "1")
    info = RunInfo(1, 1, "run", "2026-01-01", key, "default", "a.db", 0, "cpu", {}, {})
    return Run(info, QuestionSet("set", QUESTIONS), results, grades or {})


def measured(run: Run, *names: str) -> dict[str, dict[int, float]]:
    return values(run, parse_metrics(names))


def test_retrieval_metrics_as_worked_out_by_hand() -> None:
    run = make_run({0: done(["x", "b", "b", "a"]), 1: done(["c"])})
    ndcg = (1 / math.log2(3) + 2 / math.log2(4)) / (2 / math.log2(2) + 1 / math.log2(3))
    found = measured(run, "nDCG@10", "RR@10", "R@100", "P@1")
    assert found["nDCG@10"] == pytest.approx({0: ndcg, 1: 1.0})
    assert found["RR@10"] == pytest.approx({0: 1 / 2, 1: 1.0})
    assert found["R@100"] == {0: 1.0, 1: 1.0}
    assert found["P@1"] == {0: 0.0, 1: 1.0}


def test_a_question_that_finds_nothing_scores_zero() -> None:
    for results in ({0: done(["a"]), 1: done([])}, {0: done([]), 1: done([])}):
        found = measured(make_run(results), "nDCG@10", "RR@10", "Judged@10")
        assert all(set(of) == {0, 1} for of in found.values())
        assert all(of[1] == 0 for of in found.values())


def test_questions_without_judgement_or_result_are_left_out() -> None:
    run = make_run({1: done(["c"]), 2: done(["c"])})
    assert measured(run, "RR@10") == {"RR@10": {1: 1.0}}
    assert qrels_of(run) == {"q2": {"c": 1}}
    assert measured(make_run({2: done(["c"])}), "RR@10") == {"RR@10": {}}


def test_a_metric_under_two_names_has_both() -> None:
    found = measured(make_run({1: done(["x", "c"])}), "MRR", "RR")
    assert found == {"MRR": {1: 0.5}, "RR": {1: 0.5}}


def test_documents_with_spaces_and_ids_with_words_are_measured() -> None:
    run = make_run({0: done(["my notes.md", "a"])})
    # ERR of a document of grade 2, with 4 as the highest, at rank 2: (2**2 - 1) / 2**4 / 2.
    assert measured(run, "RR@10", "ERR@20") == {
        "RR@10": {0: 0.5},
        "ERR@20": {0: pytest.approx(3 / 32, abs=1e-4)},
    }


def test_answers_as_worked_out_by_hand() -> None:
    run = make_run(
        {
            0: done(["a"], "Use 60 grams [1].", False, "a", "x"),
            1: done(["c"], "The documents do not answer this.", True),
            2: done([], "The documents do not answer this.", True),
        }
    )
    assert measured(run, *ANSWERS) == {
        "EM": {0: 0, 1: 0},
        "F1": pytest.approx({0: 0.8, 1: 0}),
        "Contains": {0: 1, 1: 0},
        "ROUGE-L": pytest.approx({0: 0.8, 1: 0}),
        "Answered": {0: 1, 1: 0},
        "Refused": {2: 1},
        "CiteP": {0: 0.5, 1: 0},
        "CiteR": {0: 0.5, 1: 0},
    }


def test_a_reply_that_failed_is_no_answer_but_its_ranking_counts() -> None:
    failed = Result("failed", ranking(["c"]), {}, reason="the server hung up")
    found = measured(make_run({0: done(["a"], "60 grams"), 1: failed}), "RR@10", "EM", "Answered")
    assert found == {"RR@10": {0: 1.0, 1: 1.0}, "EM": {0: 1.0}, "Answered": {0: 1.0}}


def test_the_judge_is_the_last_one_asked() -> None:
    grades = {"first": {0: 0.25}, "second": {0: 0.75, 1: 1.0}}
    assert measured(make_run({0: done(["a"], "x")}, grades), "Judge") == {"Judge": {0: 0.75, 1: 1.0}}
    assert measured(make_run({0: done(["a"], "x")}), "Judge") == {"Judge": {}}


def test_metrics_by_default_are_those_with_something_to_say() -> None:
    found = default_metrics([make_run({0: done(["a"])})])
    retrieval = ["nDCG@10", "R@100", "RR@10", "Success@5"]
    assert [metric.name for metric in found] == retrieval
    found = default_metrics([make_run({0: done(["a"], "x")}, {"judge": {0: 1.0}}), make_run({})])
    answers = ["EM", "F1", "Contains", "ROUGE-L", "Answered", "CiteP", "CiteR", "Judge"]
    assert [metric.name for metric in found] == retrieval + answers


def test_metrics_of_answers_are_known_in_any_case_and_each_once() -> None:
    found = parse_metrics(["rouge-l", "judge", "nDCG@10", "nDCG@10"])
    assert [metric.name for metric in found] == ["ROUGE-L", "Judge", "nDCG@10"]


@pytest.mark.parametrize("name", ["nonsense@3", "nDCG@", "", "1 + 1", "nDCG@10 AP", "nDCG(10)"])
def test_an_unknown_metric_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(UsageError, match=r"no metric .* Known: .*nDCG@10.*ROUGE-L.*Judge"):
        parse_metrics(["AP", name])


@pytest.mark.parametrize(
    "name", ["nDCG@10", "P(rel=2)@5", "AP", "RR@10", "nDCG(dcg='exp-log2')@3", "Success@1"]
)
def test_a_name_means_what_it_means_to_ir_measures(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ir_measures

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        expected = ir_measures.parse_measure(name)
    # As Python 3.14 has it.
    for gone in ("Num", "Str", "NameConstant"):
        monkeypatch.delattr(ast, gone, raising=False)
    assert parse_metrics([name])[0].measure == expected


# A cut-off of 0 would end the whole process, in trec_eval.
@pytest.mark.parametrize(
    "name",
    ["alpha_nDCG@10", "ERR_IA", "P", "nDCG@10.5", "RR(x=1)", "P(rel=0)@5", "nDCG@0", "AP@0", "nDCG@True"],
)
def test_a_metric_that_nothing_installed_computes_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="No tool that is installed computes"):
        parse_metrics([name])


def test_a_metric_that_fails_on_a_run_is_named() -> None:
    # Accuracy divides by the number of documents that are judged and not relevant.
    with pytest.raises(UsageError, match="cannot compute Accuracy of 1 run"):
        measured(make_run({1: done(["c"])}), "Accuracy")


def test_a_document_counts_once_at_its_best_passage() -> None:
    def hit(document: str, rank: int) -> Hit:
        return Hit(Passage(rank, document, rank, 0, 1, "", (), "", "", {}), rank, 0.0, {})

    documents = ranked_documents([hit("a", 1), hit("a", 2), hit("b", 3)])
    assert documents == ["a", "b"]
    assert document_scores(documents) == {"a": 1.0, "b": 1 / 2}


def test_documents_found_are_worth_what_ir_measures_says_of_them() -> None:
    found = retrieval_values(
        parse_metrics(["RR@10", "P@2"]),
        [{"coffee.md": 1}, {"tea.html": 1}],
        [["tea.html", "coffee.md"], []],
        "a strategy",
    )
    assert found == {"RR@10": [0.5, 0.0], "P@2": [0.5, 0.0]}
