from __future__ import annotations

import numpy as np
import pytest

from ragqa.matching.encoded import EncodedText
from ragqa.matching.late import late_matches, noted
from ragqa.types import Matches

AXES = np.eye(6, dtype=np.float32)


def encoded(text: str, *tokens: tuple[str, int]) -> EncodedText:
    """Return a text with tokens: a piece of it, "" for a special one, and the axis that it points along."""
    spans, place = [], 0
    for piece, _ in tokens:
        place = text.index(piece, place)
        spans.append((place, place + len(piece)) if piece else (0, 0))
        place += len(piece)
    vectors = AXES[[axis for _, axis in tokens]] if tokens else np.zeros((0, 6), np.float32)
    return EncodedText(text, vectors, np.array(spans, np.int32).reshape(-1, 2))


def found(matches: Matches) -> dict[str, tuple[str | None, float, float]]:
    return {
        match.word.text: (
            matches.text[slice(*match.best)] if match.best else None,
            match.similarity,
            match.share,
        )
        for match in matches.query
    }


QUESTION = encoded("loop gifsicle?", ("", 5), ("loop", 0), ("gif", 1), ("sicle", 2), ("?", 3), ("", 5))


def test_shares_are_those_of_the_vectors_and_words_are_whole() -> None:
    passage = encoded("A gif in gifsicle", ("", 5), ("A", 4), ("gif", 1), ("gif", 1), ("sicle", 2))
    (matches,) = late_matches("late", QUESTION, [passage])
    assert [(word, shares[1:]) for word, shares in found(matches).items() if not shares[1]] == [
        ("loop", (0.0, 0.0)),
        ("?", (0.0, 0.0)),
    ]
    assert {word: shares for word, shares in found(matches).items() if shares[1]} == {
        "gifsicle": ("gifsicle", 1.0, 2.0),
        # What matches the special tokens best is no word.
        "[2 special tokens]": (None, 1.0, 2.0),
    }
    assert matches.total == pytest.approx(4.0)
    shown = {matches.text[word.start : word.end]: (word.similarity, word.strength) for word in matches.words}
    assert shown["gifsicle"] == (1.0, 1.0)
    # Half of the query word's vectors; "in" has no vector at all.
    assert shown["gif"][0] == 0.5
    assert "in" not in shown


def test_among_words_that_share_a_vector_the_one_that_looks_alike_is_the_best() -> None:
    passage = encoded("turn it, looping, loop", ("turn", 0), ("it", 0), ("looping", 0), ("loop", 0))
    (matches,) = late_matches("late", QUESTION, [passage])
    assert found(matches)["loop"][0] == "loop"
    (first,) = late_matches("late", QUESTION, [encoded("xx yy", ("xx", 0), ("yy", 0))])
    assert found(first)["loop"][0] == "xx"


def test_a_passage_without_vectors_and_a_question_of_punctuation() -> None:
    (nothing,) = late_matches("late", QUESTION, [encoded("...")])
    assert nothing.total == 0
    assert nothing.words == ()
    assert {match.best for match in nothing.query} == {None}
    marks = encoded("?!", ("?", 0), ("!", 1))
    (matches,) = late_matches("late", marks, [encoded("why", ("why", 0))])
    assert [(word.similarity, matches.query[word.query].word.text) for word in matches.words] == [(1.0, "?")]
    assert late_matches("late", QUESTION, []) == []


def test_what_lies_beyond_the_token_limit_is_said() -> None:
    cut, whole = late_matches(
        "late", QUESTION, [encoded("loop and more", ("loop", 0)), encoded("loop ...", ("loop", 0))]
    )
    assert cut.note == "The model read the first 4 of 13 characters."
    assert whole.note == ""


def test_an_index_that_gave_another_score_is_said() -> None:
    matches = Matches("plaid", 2.0, "", (), ())
    assert noted(matches, 2.0) == noted(matches, None) == matches
    assert "gave 1.9 where they give 2." in noted(matches, 1.9).note
