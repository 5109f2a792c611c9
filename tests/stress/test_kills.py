"""A few kills of each kind; `python -m tests.stress.kills` does more than a hundred."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.stress.kills import CASES, Case, kill
from tests.stress.material import Yard
from tests.stress.state import copied, faults, read_state

pytestmark = pytest.mark.slow

QUICK = [case for case in CASES if case.name in ("ingest --prune", "remove", "migration")]


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Yard:
    return Yard(tmp_path_factory.mktemp("yard"), notes=6)


@pytest.fixture
def corpus(yard: Yard) -> Iterator[Path]:
    yard.restore("indexed")
    yield copied(yard.work / "c.db", yard.root / "broken")
    shutil.rmtree(yard.root / "broken")


@pytest.mark.parametrize("case", QUICK, ids=[case.name for case in QUICK])
def test_nothing_is_lost_where_a_command_is_killed(yard: Yard, case: Case) -> None:
    outcome = kill(case, yard, 2, [7])
    assert outcome.faults == []
    assert outcome.killed


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("INSERT INTO FULL_TEXT (FULL_TEXT) VALUES ('delete-all')", "malformed"),
        ("DELETE FROM encoders", "without encoder"),
        ("DELETE FROM passages WHERE ordinal = 0", "not whole"),
        ("UPDATE documents SET text = 'other'", "not what its hash says"),
    ],
)
def test_the_check_sees_damage(corpus: Path, damage: str, found: str) -> None:
    with closing(sqlite3.connect(corpus)) as connection:
        (table,) = connection.execute(
            "SELECT name FROM sqlite_master WHERE name LIKE 'passages_fts_%' AND sql LIKE 'CREATE VIRTUAL%'"
        ).fetchone()
        connection.execute("PRAGMA trusted_schema = ON")
        with connection:
            connection.execute(damage.replace("FULL_TEXT", table))
    assert any(found in fault for fault in faults(corpus, "fts"))


def test_the_comparison_sees_a_lost_vector(yard: Yard, corpus: Path) -> None:
    whole = read_state(yard.work / "c.db")
    with closing(sqlite3.connect(corpus)) as connection, connection:
        connection.execute("DELETE FROM dense_vectors WHERE rowid = 1")
    assert whole.differences(read_state(corpus)) == ["1 vectors lost, 0 that should not be there"]
