from __future__ import annotations

from pathlib import Path

import numpy as np

from ragqa.evaluate.questions import JudgedQuestion
from tests.answer.test_quoting import text_of
from tests.workshop.reading import ask, curve, material

TEA = JudgedQuestion("tea", "How warm is green tea steeped?", {"tea.html": 1}, ("70 degrees",))


def test_the_golden_answers_tokens_are_those_of_the_relevant_document(db: Path) -> None:
    lost = JudgedQuestion("lost", TEA.text, {"coffee.md": 1}, TEA.golden_answers)
    (asked,) = ask([TEA], db, "tea")
    found = material(asked)
    assert found is not None
    assert found.golden.sum() == 2
    assert found.states.shape == (len(found.golden), 768)
    assert len(np.unique(found.scores)) == len(asked.passages)
    assert [material(one) for one in ask([lost], db, "lost")] == [None]


def test_the_curve_as_worked_out_by_hand() -> None:
    read = [(TEA, [text_of("Steep it at 70 degrees.", 0.9)]), (TEA, [text_of("Tea is green.", 0.9)])]
    assert curve("notes", read) == "| notes | 2 | " + " | ".join(["0.500 in 4"] * 4) + " |"
