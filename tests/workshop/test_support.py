from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from ragqa.answer.claims import content_words, unmarked
from ragqa.answer.support import Claim, Features, SupportChecker
from ragqa.errors import UsageError
from ragqa.evaluate.questions import JudgedQuestion
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.types import ContextBlock, Passage, Verdict
from tests.conftest import fill, needs_sklearn
from tests.workshop.statements import (
    OWN_WORDS,
    VERBATIM,
    Statement,
    kind_of,
    recased,
    state,
    statements,
    strange,
)
from tests.workshop.support import (
    EXTRACTED,
    SHIPPED,
    TOO_FEW,
    Checked,
    CheckedSet,
    fit,
    read_collection,
    report,
    rows,
    summary,
)

QUESTIONS = [
    ("How many grams of beans are used for one litre?", "60", "coffee.md"),
    ("What should the beans be ground coarse for?", "a French press", "coffee.md"),
    ("How often does the chain want oil?", "every 200 kilometres", "bicycle.md"),
    ("What mends a flat tyre?", "a patch and rubber cement", "bicycle.md"),
    ("How warm is green tea steeped?", "70 degrees", "tea.html"),
    ("When are the roots watered?", "in the morning", "garden.txt"),
    ("How many hours of sun do tomatoes need?", "six", "garden.txt"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [
        json.dumps({"question": question, "golden_answers": [answer], "relevant": [document]})
        for question, answer, document in QUESTIONS
    ]
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "questions.jsonl").write_text("\n".join(lines))
    return tmp_path / "asked"


def block(number: int, document: str, text: str) -> ContextBlock:
    passage = Passage(number, document, 0, 0, len(text), "", (), text, "", {})
    return ContextBlock(number, (passage,), (0,), text)


MILL = block(
    2, "mill", "The mill turned in 1884. Angelo Ferri built it for 1,500 crowns, and Pia Rossi sold it."
)
OTHER = block(1, "sea", "The sea is salt. It was crossed by Magellan.")
ASKED = JudgedQuestion("q", "who built the mill?", {"mill": 1}, ("Angelo Ferri",))
ELSEWHERE = [
    JudgedQuestion("r", "Who crossed the sea?", {"sea": 1}, ("Magellan",)),
    JudgedQuestion("s", "When did it turn?", {"mill": 1}, ("1884",)),
]


@pytest.mark.parametrize(
    ("question", "answer", "stated"),
    [
        ("How many points did X score?", "308", "308 points did X score."),
        ("who got the first prize", "Röntgen", "Röntgen got the first prize."),
        ("Which player of the year was hurt?", "Short", "Short of the year was hurt."),
        ("In what year did he die?", "1546", "In 1546 did he die."),
        ("It was sold to whom?", "Ferri", "It was sold to Ferri."),
        ("the capital of france", "Paris", "The capital of france: Paris."),
    ],
)
def test_question_and_answer_make_a_statement(question: str, answer: str, stated: str) -> None:
    assert state(question, answer) == stated


def test_a_question_in_small_letters_gets_the_capitals_of_its_passage() -> None:
    assert recased("who left paris in the spring", "In Paris the spring is Spring") == (
        "who left Paris in the spring"
    )


def test_answers_are_swapped_with_their_like() -> None:
    assert [kind_of(answer) for answer in ("in 1884", "Six", "Ferri", "the sea")] == [
        "number",
        "number",
        "name",
        "word",
    ]


def test_each_kind_of_statement_is_what_it_says() -> None:
    others = strange([ASKED, *ELSEWHERE])
    made = {one.kind: one for one in statements(ASKED, [OTHER, MILL], others)}
    sentence = "Angelo Ferri built it for 1,500 crowns, and Pia Rossi sold it."
    assert made[OWN_WORDS].text == "Angelo Ferri built the mill."
    assert made[VERBATIM] == Statement(VERBATIM, sentence, (2,), "supported")
    assert made["answer of the same passage (name)"].text == "Pia Rossi built the mill."
    assert made["answer from elsewhere (name)"].text == "Magellan built the mill."
    assert made["two passages"].text == "Angelo Ferri built the mill, and Magellan crossed the sea."
    assert made["two passages"].cited == (2, 1)
    numbers = {w.stem for w in content_words(made["number altered, verbatim"].text) if w.kind == "number"}
    assert len(numbers) == 1
    assert numbers.isdisjoint({"1500", "1884"})
    assert made["name altered, verbatim"].text.count("Magellan") == 1
    assert (made["other passage cited"].cited, made["other passage cited"].expected) == (
        (1,),
        "wrong citation",
    )
    assert (made["passage not given"].hidden, made["passage not given"].expected) == ((2,), "unsupported")


def test_the_same_seed_makes_the_same_statements() -> None:
    others = strange([ASKED, *ELSEWHERE])
    assert statements(ASKED, [OTHER, MILL], others, 3) == statements(ASKED, [OTHER, MILL], others, 3)


def test_without_a_capital_in_any_answer_no_name_is_altered() -> None:
    asked = JudgedQuestion("q", "For how many crowns was the mill built?", {"mill": 1}, ("1,500",))
    made = {one.kind for one in statements(asked, [OTHER, MILL], strange([asked]))}
    assert "number altered, verbatim" in made
    assert not [kind for kind in made if kind.startswith("name altered")]


def test_a_question_whose_passage_was_not_found_makes_none() -> None:
    assert statements(ASKED, [OTHER], strange([ASKED])) == []


def test_statements_on_the_notes_get_their_verdicts(folder: Path, db: Path) -> None:
    collection = read_collection(folder / "questions.jsonl", db, None)
    table = {row.kind: row for row in rows(collection.checked, SHIPPED)}
    assert table[VERBATIM].warned == table["answer of extractive"].warned == 0
    assert table[VERBATIM].verdict == 1
    assert table["number altered, verbatim"].warned == 1
    assert table["other passage cited, verbatim"].verdict == 1
    assert {one.fitted for one in collection.checked} == {True, False}


def test_what_is_measured_is_what_is_shipped(folder: Path, db: Path) -> None:
    collection = read_collection(folder / "questions.jsonl", db, None)
    measured = {
        one.statement.text: one.supports(SHIPPED)
        for one in collection.checked
        if one.statement.kind == EXTRACTED
    }
    shipped = {}
    with Pipeline.from_config("default", db) as pipeline:
        for question, _, _ in QUESTIONS:
            answer = pipeline.ask(question, model="extractive", log=False)
            shipped |= {unmarked(one.text): one.by_block for one in answer.sentences}
    both = measured.keys() & shipped.keys()
    assert len(both) >= 6
    for text in both:
        assert measured[text] == pytest.approx(shipped[text], abs=1e-5), text


def test_it_is_measured_with_the_checker_that_answers_have(
    folder: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubtful = Features(0, 0, 2, 2)

    class Doubting(SupportChecker):
        def features(self, claim: Claim, numbers: Collection[int]) -> Features:
            return doubtful

    monkeypatch.setattr("ragqa.answer.preparation.SupportChecker", Doubting)
    made = read_collection(folder / "questions.jsonl", db, None).checked
    assert {features for one in made for features in (*one.by_block.values(), one.together)} == {doubtful}


def checked(kind: str, expected: Verdict, *features: Features) -> list[Checked]:
    return [Checked(Statement(kind, "", (1,), expected), True, {1: f}, f) for f in features]


RIGHT = checked(OWN_WORDS, "supported", Features(0.9, 0.9, 0, 0), Features(0.2, 0.2, 0, 0))
ALTERED = checked("number altered", "unsupported", Features(0.9, 0.9, 2, 0), Features(0.9, 1.0, 0, 0))


def test_the_precision_of_warnings_is_that_of_as_many_right_statements() -> None:
    right, altered = rows([*RIGHT, *ALTERED, *checked(VERBATIM, "supported", Features(1, 1, 0, 0))], SHIPPED)[
        ::2
    ]
    assert (altered.kind, altered.statements, altered.warned) == ("number altered", 2, 0.5)
    # Half of OWN_WORDS and none of VERBATIM is a quarter of all; the recall is a half.
    assert altered.precision == pytest.approx(0.5 / 0.75)
    assert (right.warned, right.precision) == (0.5, None)


def test_a_summary_has_recall_and_the_precision_of_as_many_right_as_wrong() -> None:
    right = [*RIGHT, *checked(VERBATIM, "supported", Features(1, 1, 0, 0), Features(1, 1, 0, 0))]
    found = summary([*right, *ALTERED, *checked(EXTRACTED, "supported", Features(0, 0, 0, 0))], SHIPPED)
    assert found is not None
    assert (found.wrong, found.right) == (0.5, 0.25)
    assert (found.recall, found.precision) == (0.5, pytest.approx(0.5 / 0.75))
    assert str(found) == "0.500 of the wrong and 0.250 of the right (precision 0.667, recall 0.500)"


@needs_sklearn
@pytest.mark.parametrize("group", ["right", "wrong", "none"])
def test_too_few_statements_have_no_summary(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    held_out = [replace(one, fitted=False) for one in {"right": RIGHT, "wrong": ALTERED, "none": []}[group]]
    assert summary(held_out, SHIPPED) is None
    report([CheckedSet("small", [*RIGHT * 5, *ALTERED * 5, *held_out], 0.0)])
    said = capsys.readouterr().out
    assert f"Shipped, warned of in small: {TOO_FEW}." in said
    assert f"Fitted to small, warned of in small: {TOO_FEW}." in said


@needs_sklearn
def test_a_fitted_model_learns_that_a_number_is_lacking() -> None:
    model = fit([*RIGHT * 10, *ALTERED[:1] * 10])
    assert model.weights.numbers < 0
    assert model.support(Features(0.9, 0.9, 0, 0)) > 0.5 > model.support(Features(0.9, 0.9, 2, 0))


@needs_sklearn
def test_nothing_is_fitted_to_right_statements_alone() -> None:
    with pytest.raises(UsageError, match="golden answers"):
        fit(RIGHT)


@needs_sklearn
def test_the_command_prints_a_table_and_models(folder: Path, db: Path) -> None:
    command = [sys.executable, "-m", "tests.workshop.support", f"{folder / 'questions.jsonl'}={db}"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert said.returncode == 0, said.stderr
    assert "| asked | verbatim | supported |" in said.stdout
    assert "Fitted to all: SupportModel(" in said.stdout
    assert "Fitted to asked, warned of in asked: " in said.stdout
    assert "(precision " in said.stdout


def test_the_command_says_what_is_wrong_with_its_argument(folder: Path) -> None:
    command = [sys.executable, "-m", "tests.workshop.support", str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert said.returncode == 2
    assert "is not QUESTIONS=CORPUS" in said.stderr
    assert "Traceback" not in said.stderr


def test_most_altered_numbers_and_few_right_statements_of_xquad_are_doubted(
    shared: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "part"
    folder.mkdir()
    documents = (shared / "xquad_en" / "corpus.jsonl").read_text().splitlines()[:50]
    (folder / "corpus.jsonl").write_text("\n".join(documents))
    known = {json.loads(line)["_id"] for line in documents}
    questions = (shared / "xquad_en" / "questions.jsonl").read_text().splitlines()
    asked = [line for line in questions if known.issuperset(json.loads(line)["relevant"])]
    (folder / "questions.jsonl").write_text("\n".join(asked))
    db = tmp_path / "part.db"
    fill(db, folder / "corpus.jsonl")
    pipeline = Pipeline.from_config("default", db)
    build_index(pipeline)
    pipeline.close()
    collection = read_collection(folder / "questions.jsonl", db, 30, seed=1)
    table = {row.kind: row for row in rows(collection.checked, SHIPPED)}
    assert table[VERBATIM].warned == table["answer of extractive"].warned == 0
    assert table[OWN_WORDS].warned <= 0.25
    altered = [row.warned for kind, row in table.items() if "altered" in kind]
    assert len(altered) == 4
    assert fmean(altered) >= 0.9
