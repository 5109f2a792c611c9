from __future__ import annotations

import pytest

from ragqa.answer.prompts import load_prompt
from ragqa.answer.refusal import LONGEST, REFUSAL, is_refusal


@pytest.mark.parametrize(
    "text",
    [
        REFUSAL,
        "the documents do\nnot answer this",
        f"**{REFUSAL}**",
        f"{REFUSAL} {'They are about tea and coffee. ' * 20}",
    ],
)
def test_the_sentence_itself_is_a_refusal(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "The provided documents don't mention a price.",
        "The context does not contain any information about that.",
        "The passages you gave me do not directly say how long it takes.",
        "The documents about tea do not say when it was planted.",
        "There is no information about the price in the provided passages.",
        "The price is not mentioned in the documents.",
        "I cannot answer this question from the passages.",
        "I couldn’t find any information on that.",
        "This question cannot be answered from the context.",
        "I'm sorry, but I don't know.",
    ],
)
def test_a_model_may_refuse_in_its_own_words(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "According to the documents, 60 grams [1].",
        "The documents say that cookies do not contain eggs [2].",
        "According to the text, llamas do not provide milk.",
        "A context manager does not include the name.",
        "The API cannot answer requests over HTTP.",
        "Its size cannot be determined at compile time.",
    ],
)
def test_an_answer_that_mentions_documents_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize("lack", ["The passages do not mention decaf.", f"On decaf: {REFUSAL}"])
def test_a_long_answer_that_says_what_is_lacking_is_no_refusal(lack: str) -> None:
    assert is_refusal(lack)
    answer = "Use 60 grams of beans for one litre of water, ground medium for a paper filter [1]. "
    assert not is_refusal(answer * (LONGEST // len(answer) + 1) + lack)


def test_the_prompt_asks_for_the_very_sentence_that_is_looked_for() -> None:
    assert REFUSAL in (load_prompt("concise").system or "")
