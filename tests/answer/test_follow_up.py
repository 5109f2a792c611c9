from __future__ import annotations

import pytest

from ragqa.answer.follow_up import LONGEST_QUESTION, MOST_JOINED, accepted, join, leans
from ragqa.types import Turn

BEFORE = "what is shot-scraper?"
TURNS = (Turn(BEFORE, "shot-scraper takes screenshots with Playwright [1]."),)


@pytest.mark.parametrize(
    "question",
    [
        "how do I install it?",
        "and in GitHub Actions?",
        "What about a whole directory of images?",
        "why?",
        "who made it and when was that?",
        "does that work with private repositories on Windows?",
        "which one is faster for large files?",
        "what are the main differences between them?",
        "who lives there?",
        "installation",
        "on Python 3.11?",
        "in GitHub Actions?",
    ],
)
def test_a_question_that_points_back_leans(question: str) -> None:
    assert leans(question)


@pytest.mark.parametrize(
    "question",
    [
        BEFORE,
        "What is Datasette Lite?",
        "how do I check that a file exists in a bash script?",
        "is there a way to sort a table by two columns?",
        "is it possible to rename a column in a SQLite table?",
        "how long does it take to build the documentation?",
        "How do I install shot-scraper on Windows and run it?",
        "How old was Ada Lovelace during her first public lecture?",
        "why do pairs of bytes look swapped in my terminal?",
        "sqlite-utils insert",
        "in which year was SQLite released?",
        "a one line command that imports a CSV file",
    ],
)
def test_a_question_with_its_own_subject_stands(question: str) -> None:
    assert not leans(question)
    assert join(question, ["How do I grow tomatoes?"]) == question


def test_what_leans_is_joined_with_the_subject_and_not_with_grammar() -> None:
    assert join("how do I install it?", [BEFORE]) == "how do I install it? (shot-scraper)"


def test_what_is_said_already_is_not_joined_again() -> None:
    assert join("is it like Shot-Scraper?", [BEFORE]) == "is it like Shot-Scraper?"


def test_the_subject_stays_first_and_the_question_short_however_long_the_chain() -> None:
    question = BEFORE
    for follow_up in ("how do I install it?", "and for retina screens?", "and with cookies?") * 3:
        question = join(follow_up, [question])
        subject = question.partition("(")[2].rstrip(")").split()
        assert subject[0] == "shot-scraper"
        assert len(subject) <= MOST_JOINED
    assert question == "and with cookies? (shot-scraper install retina screens)"


def test_a_chain_that_nobody_joined_is_followed_to_what_stands_alone() -> None:
    before = ["How do I grow tomatoes?", BEFORE, "how do I install it?", "and on Windows?"]
    assert join("why?", before) == "why? (shot-scraper install Windows)"
    deep = [BEFORE, *["and then?"] * 5_000]
    assert join("why?", deep).startswith("why?")


def test_nothing_to_join_leaves_the_question() -> None:
    assert join("why?", ["what is it?"]) == "why?"


@pytest.mark.parametrize(
    "reply",
    [
        "How do I install shot-scraper?",
        '  "How do I install shot-scraper?"\n',
        "Question: How do I install shot-scraper?",
        "**Stand-alone question:** How do I install shot-scraper?",
        "The rewritten question is:\n\nHow do I install shot-scraper?",
        "- How do I install shot-scraper?",
    ],
)
def test_a_question_is_taken_out_of_what_stands_around_it(reply: str) -> None:
    assert accepted(reply, "how do I install it?", TURNS) == "How do I install shot-scraper?"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "nothing"),
        (" \n\t\n", "blank"),
        ("You install shot-scraper with pip.", "an answer"),
        ("The documents do not answer how shot-scraper is installed?", "a refusal"),
        ("How do I install shot-scraper?\nUse pip install shot-scraper.", "two lines"),
        ("How do I install shot-scraper" + " now" * LONGEST_QUESTION + "?", "too long"),
        ("What is shot-scraper?", "the question before, again"),
        ("Can I install Kubernetes on an Android telephone bought in France?", "something else"),
        ("?", "no words"),
    ],
)
def test_what_is_no_rewritten_question_is_refused(reply: str, why: str) -> None:
    assert accepted(reply, "how do I install it?", TURNS) == "", why


def test_a_question_in_another_language_is_accepted() -> None:
    turns = (Turn("Was ist shot-scraper?", "Ein Werkzeug für Bildschirmfotos."),)
    reply = "Wie installiere ich shot-scraper?"
    assert accepted(reply, "Und wie installiere ich es?", turns) == reply
