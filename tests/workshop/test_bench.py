from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from ragqa.errors import UsageError
from ragqa.evaluate.environment import machine
from tests.workshop.bench.encoding import encoder_flops
from tests.workshop.bench.material import prepare
from tests.workshop.bench.measure import Row, paired, peak_bytes, percentile
from tests.workshop.bench.report import line, markdown, quantity, write


def test_pairs_warm_up_both_sides_and_compare_pair_by_pair() -> None:
    calls: list[tuple[str, int]] = []
    times = paired(
        lambda number: calls.append(("ours", number)),
        lambda number: (calls.append(("theirs", number)), time.sleep(0.01)),
        3,
    )
    assert calls == [(side, number) for number in (0, 0, 1, 2) for side in ("ours", "theirs")]
    assert len(times.ours) == len(times.theirs) == 3
    assert times.theirs_s >= 0.01
    assert times.ratio > 1


def test_a_row_says_what_falls_short() -> None:
    row = Row("rerank", 12.34, "ms", "peer", 2468.0, 200.0, "60 times", True, "once")
    assert line(row) == "| rerank | 12.3 ms | peer | 2,468 ms | 200 | 60 times | reached; once |"
    assert "**falls short**" in line(Row("rerank", 1, "ms", reach="2 times", reached=False))
    assert "reached" not in line(Row("memory", 3 * 2**20, "bytes"))
    assert [quantity(value, "bytes") for value in (12, 2**11, 3 * 2**30)] == ["12 B", "2 KiB", "3 GiB"]


def test_the_table_names_machine_and_versions(tmp_path: Path) -> None:
    about = machine()
    rows = [Row("rerank", 1.5, "ms", "peer", 3.0, 2.0)]
    write(tmp_path, about, rows)
    text = (tmp_path / "bench.md").read_text()
    assert text == markdown(about, rows)
    assert f"{about['cores']} cores" in text
    assert f"numpy {about['packages']['numpy']}" in text
    stored = json.loads((tmp_path / "bench.json").read_text())
    assert stored["rows"][0]["ratio"] == 2.0
    assert set(stored["machine"]) == set(about)


def test_peak_memory_is_the_processes_own() -> None:
    _, small = peak_bytes([sys.executable, "-c", ""])
    _, large = peak_bytes([sys.executable, "-c", "b = bytearray(200_000_000); b[::4096] = b[::4096]"])
    assert large - small > 150_000_000


def test_the_work_of_encoding_grows_with_the_square_of_a_text() -> None:
    one, two = encoder_flops([100]), encoder_flops([200])
    assert one * 2 < two < one * 4
    assert encoder_flops([100, 100]) == 2 * one
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0


def test_without_the_data_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no til.ndjson in .*--data FOLDER"):
        prepare(tmp_path, tmp_path / "bench")
