from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragqa.answer.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        (
            "Dr. Smith met J. Doe, e.g. Monday. Then he left.",
            ["Dr. Smith met J. Doe, e.g. Monday.", "Then he left."],
        ),
        ("It costs 3.5 dollars. Really.", ["It costs 3.5 dollars.", "Really."]),
        ('He said "go." She went.', ['He said "go."', "She went."]),
        ("# Heading\nText here.", ["# Heading", "Text here."]),
        ("- one\n- two", ["- one", "- two"]),
        ("Run this:\n\n```bash\nls -l. A\n```\n\nDone.", ["Run this:\n\n```bash\nls -l. A\n```", "Done."]),
        ("para one\nstill one\n\npara two", ["para one\nstill one", "para two"]),
        ("---\n\n***", []),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in split_sentences(text)] == sentences


@given(st.text(alphabet=st.sampled_from("aB1.!? \n#-`~:\"'。é"), max_size=200))
def test_spans_are_in_order_and_lose_no_word(text: str) -> None:
    spans = split_sentences(text)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    inside = "".join(text[start:end] for start, end in spans)
    assert [char for char in inside if char.isalnum()] == [char for char in text if char.isalnum()]
