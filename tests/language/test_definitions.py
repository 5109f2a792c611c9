from __future__ import annotations

import pytest

from ragqa.language.definitions import defines, echoes, subject_of


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        ("what is shot-scraper?", "shot-scraper"),
        ("What's the Eiffel Tower", "Eiffel Tower"),
        ("who was Ada Lovelace?", "Ada Lovelace"),
        ("what is the best way to open a jar of pickles?", None),
        ("how is tea made?", None),
        ("what is?", None),
    ],
)
def test_the_subject_of_a_question(question: str, subject: str | None) -> None:
    assert subject_of(question) == subject


@pytest.mark.parametrize(
    ("sentence", "yes"),
    [
        ("shot-scraper: A utility for screenshots.", True),
        ("`shot-scraper` is a command-line tool.", True),
        ("The [shot-scraper](https://x.test) is the tool.", True),
        ("Shot scraper - a tool", True),
        ("`shot-scraper` is a lot more ergonomic.", False),
        ("Ben built a bot that uses shot-scraper: nice", False),
        ("shot-scrapers are odd.", False),
    ],
)
def test_sentences_that_define(sentence: str, yes: bool) -> None:
    assert defines(sentence, "shot-scraper") is yes


def test_a_sentence_that_only_asks_again_is_an_echo() -> None:
    assert echoes("llm --system 'What is shot-scraper?'", "what is shot-scraper?")
    assert not echoes("shot-scraper is a tool", "what is shot-scraper?")
    assert not echoes("tea time", "tea?")
