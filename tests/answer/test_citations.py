from __future__ import annotations

import pytest

from ragqa.answer.citations import citations, cited_numbers
from ragqa.types import Context, ContextBlock, Passage


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("So [2]. And [1][2].", [2, 1]),
        ("Both [1, 3] and [2;4].", [1, 3, 2, 4]),
        ("None [a] [] [1", []),
        ("[99999999999999999999]", [999999999]),
    ],
)
def test_numbers_in_order_of_appearance(text: str, numbers: list[int]) -> None:
    assert cited_numbers(text) == numbers


def test_only_passages_that_were_given_are_cited() -> None:
    given = Passage(7, "d", 3, 0, 1, "", (), "x", "", {})
    context = Context("", (ContextBlock(1, (given,), (0,), "x"),), 0)
    (citation,) = citations("Yes [1], no [2].", context)
    assert (citation.number, citation.passage.id) == (1, "d#3")
