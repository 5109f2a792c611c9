from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ragqa.answer.answerable import Signals
from ragqa.encoders.embedded.catalogue import fitted_by_default
from ragqa.errors import UsageError
from ragqa.evaluate.questions import JudgedQuestion
from tests.conftest import needs_sklearn
from tests.workshop.answerable import Case, Model, careful, cases_of, fit, report, separation, table
from tests.workshop.fitting import is_fitted

TEA = JudgedQuestion("tea", "How warm is green tea steeped?", {"tea.html": 1}, ("70 degrees",))
TYRE = JudgedQuestion("tyre", "What mends a flat tyre?", {"bicycle.md": 1}, ("patch",))


def case(kind: str, match: float, lead: float = 0.1, collection: str = "notes") -> Case:
    return Case(collection, kind, True, Signals(match, lead), match)


def test_all_questions_of_a_document_are_on_one_side() -> None:
    halves = [
        {is_fitted(JudgedQuestion(f"{place}", "?", {f"d{number}": 1})) for place in range(5)}
        for number in range(40)
    ]
    assert all(len(half) == 1 for half in halves)
    assert 10 < sum(True in half for half in halves) < 30


def kinds(db: Path, *own: JudgedQuestion, foreign: tuple[JudgedQuestion, ...] = ()) -> list[str]:
    return [one.kind for one in cases_of("notes", own, foreign, db, transfer=False)]


def test_without_its_documents_a_question_has_no_answer(db: Path) -> None:
    answered, removed = cases_of("notes", [TEA], [], db, transfer=False)
    assert (answered.kind, removed.kind) == ("answerable", "removed")
    assert answered.signals.match > removed.signals.match + 0.2
    assert answered.sentence > removed.sentence


def test_a_golden_answer_that_remains_by_chance_makes_no_unanswerable_case(db: Path) -> None:
    water = JudgedQuestion("water", "How is coffee brewed?", {"coffee.md": 1}, ("water",))
    assert kinds(db, water) == ["answerable"]
    assert kinds(db, TEA, foreign=(water,)) == ["answerable", "removed"]


def test_what_is_not_found_is_left_out_and_what_has_no_answer_has_its_kind(db: Path) -> None:
    lost = JudgedQuestion("lost", "How warm is green tea?", {"elsewhere": 1}, ("70",))
    own = JudgedQuestion("own", "Who planted the tea?", {}, unanswerable=True)
    mona = JudgedQuestion("mona", "Who painted the Mona Lisa?", {"leonardo": 1}, ("Leonardo",))
    assert kinds(db, lost, own, foreign=(mona,)) == ["unanswerable", "foreign"]


def test_nothing_of_a_collection_for_transfer_is_fitted_on(db: Path) -> None:
    questions = [JudgedQuestion(f"{n}", TEA.text, {"tea.html": 1, f"a{n}": 0}) for n in range(8)]
    assert any(one.fitted for one in cases_of("notes", questions, [], db, transfer=False))
    assert not any(one.fitted for one in cases_of("notes", questions, [], db, transfer=True))


def test_no_collection_is_refused_more_than_wanted() -> None:
    easy = [case("answerable", 0.8 + n / 1000, collection="easy") for n in range(100)]
    hard = [case("answerable", 0.5 + n / 1000, collection="hard") for n in range(100)]
    weights = (-5.0, 10.0, 0.0)
    threshold = careful([*easy, *hard, case("removed", 0.1)], weights)
    assert threshold == careful(hard, weights) < careful(easy, weights)


def test_the_auc_counts_ties_as_half() -> None:
    assert separation(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == 3.5 / 4


@needs_sklearn
def test_the_fit_finds_the_signal_and_the_thresholds() -> None:
    good = [case("answerable", 0.5 + n / 200, lead=n % 7 / 10) for n in range(100)]
    bad = [case("removed", 0.3 + n / 200, lead=n % 7 / 10) for n in range(60)]
    model = fit(good + bad)
    _, match, lead = model.weights
    assert match > 10 * abs(lead)
    assert model.sentence_threshold == pytest.approx(0.5 + 4.95 / 200)
    # Where the sentence and the match are the same, so are the questions that are refused.
    table = list(report(good + bad, model))
    refused = [re.search(r"\| (\d\.\d%) of 100 \| (\d+%) \|", line) for line in table[2:]]
    assert [row and row.groups() for row in refused] == [("5.0%", "75%")] * 2


@needs_sklearn
def test_the_fit_does_not_depend_on_how_many_cases_of_a_kind_there_are() -> None:
    good = [case("answerable", 0.5 + n / 20, lead=n % 3 / 10) for n in range(10)]
    bad = [case("removed", 0.3 + n / 20, lead=n % 4 / 10) for n in range(10)]
    far = [case("foreign", 0.2 + n / 30) for n in range(5)]
    assert fit(good + bad + far).weights == pytest.approx(fit(good + bad + 4 * far).weights)
    assert fit(good + bad).weights != pytest.approx(fit(good + bad + far).weights, rel=0.01)


@needs_sklearn
def test_there_must_be_both_to_fit() -> None:
    with pytest.raises(UsageError, match="nothing to fit to"):
        fit([case("answerable", 0.5)])
    with pytest.raises(UsageError, match="nothing to fit to"):
        fit([case("unanswerable", 0.5)])


def test_the_table_as_worked_out_by_hand() -> None:
    cases = [case("answerable", match) for match in (0.2, 0.6, 0.8, 0.9)]
    cases += [case("removed", match) for match in (0.1, 0.7)] + [case("foreign", 0.1)]
    # The model's score is one half where the match is; the sentence is asked for more.
    heading, _, *lines = report(cases, Model((-5.0, 10.0, 0.0), 0.5, 0.65))
    assert heading.endswith("| wrongly refused | rightly refused | AUC | at 2% | at 5% | at 10% |")
    assert lines == [
        "| notes | removed (2) | model | 25.0% of 4 | 50% | 0.750 | 50% | 50% | 50% |",
        "| notes | removed (2) | sentence | 50.0% of 4 | 50% | 0.750 | 50% | 50% | 50% |",
        "| notes | foreign (1) | model | 25.0% of 4 | 100% | 1.000 | 100% | 100% | 100% |",
        "| notes | foreign (1) | sentence | 50.0% of 4 | 100% | 1.000 | 100% | 100% | 100% |",
    ]


def test_where_a_passage_stands_out_the_model_refuses_nothing() -> None:
    cases = [case("answerable", match) for match in (0.2, 0.9)] + [case("removed", 0.1)]
    ahead = [replace(one, ahead=True) for one in cases]
    *_, line, sentence = report(ahead, Model((-5.0, 10.0, 0.0), 0.5, 0.65), spare=True)
    assert line.startswith("| notes | removed (1) | model | 0.0% of 2 | 0% | 1.000 |")
    assert sentence.startswith("| notes | removed (1) | sentence | 50.0% of 2 | 100% | 1.000 |")
    *_, line, _ = report(ahead, Model((-5.0, 10.0, 0.0), 0.5, 0.65))
    assert line.startswith("| notes | removed (1) | model | 50.0% of 2 | 100% | 1.000 |")


def test_collections_are_reported_together_too() -> None:
    cases = [case(kind, 0.5, collection=name) for kind in ("answerable", "removed") for name in "ab"]
    lines = list(report(cases, Model((0.0, 1.0, 0.0), 0.5, 0.5)))
    assert [line.split("|")[1].strip() for line in lines[2::2]] == ["a", "b", "together"]
    assert "0.0% of 2" in lines[-1]
    assert "0.0% of 1" in lines[2]


@needs_sklearn
def test_the_command_prints_constants_and_a_table(
    db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The grade of 0 puts three of each on both sides.
    rows = [
        {
            "id": f"{question.id}{n}",
            "question": question.text,
            "relevant": {**question.relevant, f"a{n}": 0},
            "golden_answers": question.golden_answers,
        }
        for question in (TEA, TYRE)
        for n in range(6)
    ]
    path = tmp_path / "asked.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    table([f"{path}={db}"], transfer=None, sample=500, foreign=10)
    printed = capsys.readouterr().out
    constants = (
        r"answerability=\(-[\d.]+, [\d.]+, [\d.]+\)\nrefuse_below=0\.\d+\nrefuse_strictly_below=0\.\d+\n"
    )
    assert re.match(constants, printed)
    assert f"not what is shipped: {fitted_by_default().answerability}, " in printed
    assert "| asked | removed (" in printed
    with pytest.raises(UsageError, match="is not QUESTIONS=CORPUS"):
        table(["asked.jsonl"])
