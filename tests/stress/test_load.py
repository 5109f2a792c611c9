"""A short run of the load: the harness works, and nothing goes wrong in it either."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install 'ragqa[web]'")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install 'ragqa[web]'")

from tests.stress.load import NOTES_QUESTIONS, Plan, run, slope
from tests.stress.state import faults

pytestmark = pytest.mark.slow


def test_sixty_questions_with_faults_between_them_while_the_corpus_changes(tmp_path: Path) -> None:
    plan = Plan(questions=60, clients=4, share=0.15, warm_up=20, til=0, changing=4)
    outcome = run(plan, tmp_path)
    # So few questions say nothing of memory.
    assert outcome.faults(most_slope_mb=float("inf")) == []
    assert outcome.tally.answered == 60
    assert set(outcome.tally.faults) == {"failing model", "hang-up", "malformed"}
    assert outcome.rounds > 1


def test_slope_is_that_of_the_line() -> None:
    assert slope([(count, 200 + count * 0.003) for count in range(300, 2000, 10)]) == pytest.approx(3.0)
    assert slope([(60, 200.0), (60, 210.0)]) == 0.0


def test_faults_name_what_is_wrong_with_a_file(db: Path) -> None:
    assert faults(db, question=NOTES_QUESTIONS[0]) == []
    with sqlite3.connect(db) as connection:
        connection.execute("DELETE FROM passages WHERE document = (SELECT min(rowid) FROM documents)")
    connection.close()
    found = faults(db, question=NOTES_QUESTIONS[0])
    assert any("are not whole" in said for said in found)
    assert any(said.startswith("foreign key") for said in found)
