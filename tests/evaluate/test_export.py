from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import ir_measures
import pytest

from ragqa.errors import UsageError
from ragqa.evaluate.export import beir_results, json_lines, read_json_lines, trec_qrels, trec_run
from ragqa.evaluate.metrics import parse_metrics, values
from ragqa.evaluate.questions import JudgedQuestion, QuestionSet
from ragqa.evaluate.runs import RankedPassage, Reply, Result, Run, RunInfo, RunKey

METRICS = ("nDCG@10", "R@100", "RR@10", "AP")
# A separator that JSON leaves as it is and str.splitlines() parts lines at.
SEPARATOR = "\u2028"


def ranking(*documents: str, score: float = 1.0) -> tuple[RankedPassage, ...]:
    """Return passages of these documents, whose scores are all the same."""
    return tuple(RankedPassage(d, f"{d}#{n}", score, {"fts": score}) for n, d in enumerate(documents))


QUESTIONS = (
    JudgedQuestion("q 1", "how much", {"my notes.md": 2, "b": 1, "z": 0}, ("60 grams", "sixty"), "kind"),
    JudgedQuestion("q2", "how warm", {"c": 1, "tab\there": 1}),
    JudgedQuestion("q3", "how far", {"d": 1}),
    JudgedQuestion("q4", "how dear", {}, unanswerable=True),
    JudgedQuestion("q5", f"how {SEPARATOR} long\x85", {"e": 3}),
    JudgedQuestion("q6", "never asked", {"f": 1}),
)
RESULTS = {
    0: Result(
        "done", ranking("x", "b", "b", "my notes.md"), {"fts": 1.5}, Reply(f"60{SEPARATOR}g", False, ("b",))
    ),
    1: Result("done", ranking("tab\there", "x", "c"), {}, Reply("warm", False, (), "ctx", 1, 2, 3, 0.5)),
    2: Result("done", (), {}, Reply("no", True)),
    3: Result("done", ranking("x", "c"), {}, Reply("", True)),
    4: Result("failed", ranking(*map(str, range(11)), "e"), {"fts": 2.0}, None, "the server hung up", 6),
}


def make_run() -> Run:
    key = RunKey("set", "yaml", "corpus", "fake", {"temperature": 0.5}, "prompt", 100, "1")
    info = RunInfo(
        7, 3, "fts/fake (2)", "2026-01-01", key, "fts", "a.db", 9, "cpu", {"cores": 2}, {"q3": ["d"]}
    )
    return Run(info, QuestionSet("set", QUESTIONS), RESULTS, {"judge": {0: 0.5, 3: 1.0}})


def write(path: Path, form: Callable[[Run], Iterator[str]], run: Run) -> Path:
    path.write_text("".join(f"{line}\n" for line in form(run)), encoding="utf-8")
    return path


def test_ir_measures_finds_the_same_in_the_files_as_we_do(tmp_path: Path) -> None:
    run = make_run()
    run_file = write(tmp_path / "run.trec", trec_run, run)
    qrels_file = write(tmp_path / "qrels.trec", trec_qrels, run)
    measures = {name: ir_measures.parse_measure(name) for name in METRICS}
    found = ir_measures.calc_aggregate(
        list(measures.values()),
        list(ir_measures.read_trec_qrels(str(qrels_file))),
        list(ir_measures.read_trec_run(str(run_file))),
    )
    ours = values(run, parse_metrics(METRICS))
    for name, measure in measures.items():
        column = ours[name]
        # The question that found nothing counts, the one that was not asked does not.
        assert set(column) == {0, 1, 2, 4}
        assert found[measure] == pytest.approx(sum(column.values()) / len(column)), name
    assert ours["RR@10"] == pytest.approx({0: 1 / 2, 1: 1.0, 2: 0.0, 4: 0.0})


def test_a_trec_run_has_six_columns_and_every_document_once() -> None:
    lines = [line.split(" ") for line in trec_run(make_run())]
    assert {len(line) for line in lines} == {6}
    assert lines[:3] == [
        ["q%201", "Q0", "x", "1", "1.00000000", "fts/fake%20(2)"],
        ["q%201", "Q0", "b", "2", "0.50000000", "fts/fake%20(2)"],
        ["q%201", "Q0", "my%20notes.md", "3", "0.33333333", "fts/fake%20(2)"],
    ]


def test_qrels_have_the_judgements_of_what_was_asked() -> None:
    assert list(trec_qrels(make_run())) == [
        "q%201 0 my%20notes.md 2",
        "q%201 0 b 1",
        "q%201 0 z 0",
        "q2 0 c 1",
        "q2 0 tab%09here 1",
        "q3 0 d 1",
        "q5 0 e 3",
    ]


def test_a_long_run_keeps_its_order_in_the_file() -> None:
    documents = [f"d{number}" for number in range(1000)]
    run = replace(make_run(), results={0: Result("done", ranking(*documents), {})})
    lines = [line.split() for line in trec_run(run)]
    by_score = sorted(lines, key=lambda line: -float(line[4]))
    assert [line[2] for line in by_score] == documents
    assert len({line[4] for line in lines}) == len(documents)


def test_beir_results_are_an_object_of_scores_by_document_by_question() -> None:
    (line,) = beir_results(make_run())
    results = json.loads(line)
    assert results["q 1"] == {"x": 1.0, "b": 0.5, "my notes.md": pytest.approx(1 / 3)}
    assert results["q3"] == {}
    assert set(results) == {"q 1", "q2", "q3", "q4", "q5"}


def test_a_run_reads_back_from_json_lines_as_it_was(tmp_path: Path) -> None:
    run = make_run()
    again = read_json_lines(write(tmp_path / "run.jsonl", json_lines, run))
    assert again == run
    assert again.info.key.fingerprint == run.info.key.fingerprint


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["nonsense"],
        ["[]"],
        ["3"],
        ["{}"],
        ['{"form": 1, "run": {}}'],
        ['{"id": "q1", "question": "how much"}'],
        ['{"form": 99}'],
    ],
)
def test_a_file_of_another_kind_is_no_run(tmp_path: Path, lines: Sequence[str]) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"other\.jsonl"):
        read_json_lines(path)


@pytest.mark.parametrize("broken", ["[1]", '{"result": null}', '"text"', "null"])
def test_a_run_with_a_broken_line_is_refused(tmp_path: Path, broken: str) -> None:
    first, *lines = json_lines(make_run())
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join([first, broken, *lines]))
    with pytest.raises(UsageError, match=r"cannot be read as a run .*ragqa eval export RUN --jsonl"):
        read_json_lines(path)


def test_grades_in_another_form_are_refused(tmp_path: Path) -> None:
    first, *lines = json_lines(make_run())
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join([json.dumps({**json.loads(first), "grades": {"judge": [1]}}), *lines]))
    with pytest.raises(UsageError, match="cannot be read as a run"):
        read_json_lines(path)


def test_a_binary_file_or_none_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("binary", "nothing"):
        with pytest.raises(UsageError, match=f"{name} cannot be read as a run"):
            read_json_lines(tmp_path / name)
