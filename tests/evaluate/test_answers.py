from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from ragqa.evaluate.answers import (
    citation_precision,
    citation_recall,
    contains_answer,
    exact_match,
    rouge_l,
    token_f1,
    without_marks,
)

WORDS = st.lists(st.sampled_from(["tea", "Coffee", "70", "degrees", "a", "brewing", "é"]), max_size=12)
ROUGE = RougeScorer(["rougeL"], use_stemmer=False)


def peer(text: str, *golden: str) -> float:
    return float(max(ROUGE.score(answer, text)["rougeL"].fmeasure for answer in golden))


@pytest.mark.parametrize(
    ("text", "golden", "held"),
    [
        ("It took The Eiffel-Tower two years.", ["eiffeltower"], True),
        ("Use 60 grams of beans.", ["600 grams", "60 grams"], True),
        ("Use 160 grams.", ["60 grams"], False),
        ("Anything.", ["the", ""], False),
    ],
)
def test_an_answer_is_held_as_whole_words(text: str, golden: list[str], held: bool) -> None:
    assert contains_answer(text, golden) is held


@pytest.mark.parametrize(
    ("text", "golden", "same"),
    [
        ("The  60 grams!", ["60 Grams"], True),
        ("60 grams", ["70 grams", "60 grams."], True),
        ("60 grams of beans", ["60 grams"], False),
        ("", ["60 grams"], False),
        ("60 grams", [], False),
    ],
)
def test_an_exact_match_leaves_case_punctuation_and_articles_aside(
    text: str, golden: list[str], same: bool
) -> None:
    assert exact_match(text, golden) is same


@pytest.mark.parametrize(
    ("text", "golden", "worth"),
    [
        ("use the 60 grams of beans", ["60 grams"], 2 * (2 / 5) * (2 / 2) / (2 / 5 + 2 / 2)),
        ("beans beans grams", ["beans grams grams"], 2 / 3),
        ("60 grams", ["nothing alike", "60 grams"], 1.0),
        ("tea", ["coffee"], 0.0),
        ("", ["coffee"], 0.0),
        ("tea", [], 0.0),
    ],
)
def test_token_f1_is_that_of_the_closest_golden_answer(text: str, golden: list[str], worth: float) -> None:
    assert token_f1(text, golden) == pytest.approx(worth)


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Use 60 grams [1].", "Use 60 grams."),
        ("Both[1][2] of them [3, 4] hold [5;6]", "Both of them hold"),
        ("An array [n] and [1", "An array [n] and [1"),
        # In code as well, where nothing is cited: answers are compared without any.
        ("Take `a[0]`\n [1]", "Take `a`"),
    ],
)
def test_citation_marks_are_no_part_of_an_answer(text: str, bare: str) -> None:
    assert without_marks(text) == bare


@pytest.mark.parametrize(
    ("text", "golden"),
    [
        ("The tea is steeped at 70 degrees.", ["70 degrees for tea", "It is steeped at 70 degrees"]),
        ("Brewing, re-brewing; café_au_lait", ["brewing brewed cafe au lait"]),
        ("a b c d", ["d c b a"]),
        ("", ["tea"]),
        ("...", ["!"]),
    ],
)
def test_rouge_l_is_that_of_the_package_rouge_score(text: str, golden: list[str]) -> None:
    assert rouge_l(text, golden) == pytest.approx(peer(text, *golden))


@given(WORDS, WORDS)
def test_rouge_l_is_that_of_rouge_score_on_any_words(said: list[str], right: list[str]) -> None:
    text, golden = " ".join(said), " ".join(right)
    assert rouge_l(text, [golden]) == pytest.approx(peer(text, golden))


def test_rouge_l_without_golden_answers_is_zero() -> None:
    assert rouge_l("tea", []) == 0.0


@pytest.mark.parametrize(
    ("cited", "relevant", "precision", "recall"),
    [
        (["a", "b"], ["a", "c", "d"], 1 / 2, 1 / 3),
        (["a", "a"], ["a"], 1.0, 1.0),
        (["b"], ["a"], 0.0, 0.0),
        ([], ["a"], 0.0, 0.0),
        (["a"], [], 0.0, 0.0),
    ],
)
def test_citations_are_measured_by_document(
    cited: list[str], relevant: list[str], precision: float, recall: float
) -> None:
    assert citation_precision(cited, relevant) == pytest.approx(precision)
    assert citation_recall(cited, relevant) == pytest.approx(recall)
