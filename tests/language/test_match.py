from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragqa.language.match import match_expression, match_terms
from ragqa.language.stopwords import ENGLISH


@pytest.mark.parametrize(
    ("question", "terms"),
    [
        ("what is shot-scraper?", ["shot scraper", "shot", "scraper"]),
        ("How do I use the SQLite FTS5 index?", ["use", "sqlite", "fts5", "index"]),
        ("to be or not to be", ["to", "be", "or", "not"]),
        ("expect(...).to_have_count()", ["expect", "to have count", "count"]),
        ("python 3.11's asyncio", ["python", "3 11 s", "3", "11", "asyncio"]),
        ("HOMEBREW_NO_VERIFY", ["homebrew no verify", "homebrew", "verify"]),
        ("¿?!", []),
    ],
)
def test_terms_leave_the_scaffolding_of_a_question_out(question: str, terms: list[str]) -> None:
    assert match_terms(question, ENGLISH) == terms


def test_without_a_stop_list_every_word_stays() -> None:
    assert match_expression("what is it", frozenset()) == '"what" OR "is" OR "it"'


@given(st.text(max_size=200))
def test_whatever_is_asked_the_expression_is_valid(question: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5 (body)")
    expression = match_expression(question, ENGLISH)
    if expression:
        connection.execute("SELECT * FROM t WHERE t MATCH ?", [expression]).fetchall()
    connection.close()


@pytest.mark.parametrize(
    "attack", ['" OR 1', "a AND NOT", "NEAR(", "title:x", "a*", "-a", "^b", "{a b}: c", "a + b"]
)
def test_operators_are_plain_words(attack: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5 (title, body)")
    connection.execute("INSERT INTO t VALUES ('x', 'a b')")
    expression = match_expression(attack, frozenset())
    connection.execute("SELECT * FROM t WHERE t MATCH ?", [expression]).fetchall()
    connection.close()
