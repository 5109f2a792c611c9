from __future__ import annotations

import pytest

from ragqa.evaluate.answers import contains_answer


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
