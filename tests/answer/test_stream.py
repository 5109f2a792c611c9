from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragqa.answer.citations import without_strangers
from ragqa.answer.stream import AnswerStream, SentenceStream
from ragqa.types import CheckedSentence

KNOWN = (1, 2)
# What marks, code and sentences are made of.
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            ["[1]", "[9]", "[1, 9]", "[", "]", "9", ",", " ", "`", "```", "~~~", "\n", "\n\n", ". "]
        ),
        st.text(max_size=4),
    ),
    max_size=30,
)


def streamed(pieces: Sequence[str]) -> tuple[list[str], AnswerStream]:
    stream = AnswerStream(KNOWN)
    told = [*map(stream.add, pieces), stream.finish()]
    return [piece for piece in told if piece], stream


@given(PIECES)
def test_what_is_streamed_is_the_cleaned_answer_however_it_is_cut(pieces: list[str]) -> None:
    told, stream = streamed(pieces)
    text, removed = without_strangers("".join(pieces), KNOWN)
    assert "".join(told) == stream.text == text
    assert stream.removed == removed


def test_a_citation_cut_in_two_is_taken_out_and_the_rest_is_told_at_once() -> None:
    told, stream = streamed(["Use 60 grams", " [", "9", "]", ". Sun", " helps [1", "]."])
    assert told == ["Use 60 grams", ". Sun", " helps", " [1]."]
    assert stream.removed == [9]


def test_brackets_in_code_are_no_citations() -> None:
    text = "Take `rows[9]` [1]:\n```\nrows[9]\n```\n[9]"
    told, stream = streamed(list(text))
    assert "".join(told) == "Take `rows[9]` [1]:\n```\nrows[9]\n```\n"
    assert stream.removed == [9]


class Checker:
    """Finds every sentence supported."""

    def check(self, text: str, span: tuple[int, int]) -> CheckedSentence | None:
        start, end = span
        return CheckedSentence(start, end, text[start:end], (), {1: 1.0}, 1.0, 1, "supported")


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_sentences_are_told_whole_with_their_citations(step: int) -> None:
    text = "Use 60 grams. [1] Sun helps [2]. Then:\n\n```\ncode\n```\n[1]\n\nDone"
    told: list[str] = []
    stream = SentenceStream(Checker())  # type: ignore[arg-type]
    pieces = AnswerStream(KNOWN)
    for start in range(0, len(text), step):
        told += [said.piece for said in stream.add(pieces.add(text[start : start + step]))]
    told += [said.piece for said in stream.add(pieces.finish())]
    told += [said.piece for said in stream.finish()]
    assert [piece.strip() for piece in told] == [
        "Use 60 grams. [1]", "Sun helps [2].", "Then:\n\n```\ncode\n```\n[1]", "Done",
    ]  # fmt: skip
    assert "".join(told) == text
    assert [text[check.start : check.end] for check in stream.checked] == [
        check.text for check in stream.checked
    ]
