from __future__ import annotations

import json
from pathlib import Path

from ragqa.index.token_store import StorageSettings
from tests.workshop.storage import compare, read_collection


def test_every_way_of_storing_is_compared_with_plain_vectors(db: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        json.dumps({"question": "How warm is green tea steeped?", "relevant": ["tea.html"]})
        + "\n"
        + json.dumps({"question": "What mends a flat tyre?", "relevant": ["bicycle.md"]})
    )
    ways = [StorageSettings(codec="int8", pool_factor=1), StorageSettings(codec="int2", pool_factor=3)]
    rows = list(compare(read_collection(questions, db), ways))
    assert [row["way"] for row in rows[::2]] == ["float32", "int8, pooled by 1", "int2, pooled by 3"]
    assert all(row["nDCG@10"] == 1.0 for row in rows)
    plain, eight, two = (row["bytes_per_token"] for row in rows[::2])
    assert plain > 3.9 * eight > 30 * two
    assert [row["overlap"] for row in rows[:4]] == [1.0] * 4
