from __future__ import annotations

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragqa.corpus.database import Corpus
from ragqa.evaluate.store import RunStore
from ragqa.sources.sqlite import open_read_only

ROOT = Path(__file__).parents[1]
QUERY = "SELECT column1 FROM (VALUES (1), (2), (3), (4), (5), (6), (7), (8)) WHERE column1 IN (?, ?)"


@pytest.mark.parametrize("kind", ["a corpus", "runs", "somebody else's"])
def test_threads_that_ask_the_same_get_their_own_rows(db: Path, tmp_path: Path, kind: str) -> None:
    """Python 3.12 and later may hand two threads one kept statement: see shared_connection."""
    opened = {
        "a corpus": lambda: Corpus.open(db).connection,
        "runs": lambda: RunStore.open(tmp_path / "runs.db", create=True).connection,
        "somebody else's": lambda: open_read_only(db),
    }
    connection = opened[kind]()

    def wrong(thread: int) -> int:
        wanted = [(number % 7 + 1, (number + thread) % 8 + 1) for number in range(3000)]
        found = [{row[0] for row in connection.execute(QUERY, pair).fetchall()} for pair in wanted]
        return sum(set(pair) != rows for pair, rows in zip(wanted, found, strict=True))

    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(wrong, range(4))) == [0] * 4
    finally:
        connection.close()


def test_whatever_threads_share_keeps_no_statements() -> None:
    callers = []
    for path in (ROOT / "ragqa").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and {"check_same_thread"} & {key.arg for key in node.keywords}:
                callers.append(path.name)
    assert callers == ["sqlite_file.py"]
