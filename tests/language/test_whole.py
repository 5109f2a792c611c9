from __future__ import annotations

import pytest

from ragqa.language.whole import asks_of_all


@pytest.mark.parametrize(
    "question",
    [
        "How many plants are there in the notes?",
        "how many notes mention coffee",
        "List all tools that are in my notes",
        "compare the prices across all of the documents",
        "Which documents mention the lease?",
        "how many errors are there across all of my documents",
    ],
)
def test_what_is_about_all_documents_is_known(question: str) -> None:
    assert asks_of_all(question)


@pytest.mark.parametrize(
    "question",
    [
        "How many grams of beans for one litre of water?",
        "how many people live in the city of Trieste?",
        "what is shot-scraper?",
        # So a thing to be done is asked for as often as a list of what there is.
        "list all running docker containers",
        "count every distinct value of a column",
        "how many rows are in the documents table?",
        "How many pages does the lease have?",
        "how many columns are in the file?",
        "How many of the articles were amended?",
        "list the files in a zip archive with python",
        "how do I list all tables of a SQLite database?",
        "Which page size does SQLite use?",
        "I noted all ids in one string. Which records are new now?",
        "How many points did the Panthers defense surrender?",
    ],
)
def test_what_one_passage_may_answer_is_not(question: str) -> None:
    assert not asks_of_all(question)
