"""The table of a benchmark run, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.workshop.bench.measure import Row, Unit

HEADINGS = ("work", "ragqa", "peer", "peer's", "times better", "to reach", "")


def markdown(machine: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the table under a line on the machine; what falls short says so in its last column."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']};"
        f" Python {machine['python']}, {versions}; commit {machine['commit']}, {machine['date']}.",
        "",
        _line(HEADINGS),
        "| --- | ---: | --- | ---: | ---: | --- | --- |",
        *(line(row) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def line(row: Row) -> str:
    """Return one line of the table."""
    verdict = {True: "reached", False: "**falls short**", None: ""}[row.reached]
    theirs = "" if row.theirs is None else quantity(row.theirs, row.unit)
    ratio = (
        "" if row.ratio is None else f"{row.ratio:.{0 if row.ratio >= 20 else 1 if row.ratio >= 2 else 2}f}"
    )
    remark = "; ".join(part for part in (verdict, row.note) if part)
    return _line((row.work, quantity(row.ours, row.unit), row.peer, theirs, ratio, row.reach, remark))


def quantity(value: float, unit: Unit) -> str:
    """Return a figure with three digits that count and its unit."""
    if unit == "bytes":
        for name, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if value >= size:
                return f"{value / size:.3g} {name}"
        return f"{value:.3g} B"
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return shown + (unit if unit == "/s" else f" {unit}")


def write(folder: Path, machine: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write bench.md and bench.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.md").write_text(markdown(machine, rows), encoding="utf-8")
    data = {"machine": dict(machine), "rows": [asdict(row) for row in rows]}
    (folder / "bench.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
