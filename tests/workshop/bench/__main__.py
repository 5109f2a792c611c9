"""`python -m tests.workshop.bench`: run the benchmarks and print the table as it grows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from ragqa.cli.run import run
from ragqa.errors import UsageError, unknown_name
from ragqa.evaluate.environment import machine
from tests.workshop.bench import (
    documents,
    encoding,
    first_stages,
    growth,
    late_interaction,
    processes,
    report,
)
from tests.workshop.bench.material import Material, prepare
from tests.workshop.bench.measure import Row

WORKS: dict[str, Callable[[Material], Iterator[Row]]] = {
    "cold": processes.cold_starts,
    "fts": first_stages.full_text,
    "dense": first_stages.dense,
    "rerank": late_interaction.rerank,
    "search": late_interaction.search,
    "stored": late_interaction.stored_bytes,
    "encoder": encoding.encoder,
    "stages": processes.stages,
    "answers": processes.answers,
    "memory": processes.memory,
    "documents": documents.read,
    "build": late_interaction.build_and_add,
    "growth": growth.growth,
}
# Asked for by name only.
LONG = ("growth",)


def bench(
    data: Annotated[Path, typer.Option(help="The folder with til.ndjson, til_questions.jsonl and scifact.")],
    folder: Annotated[Path, typer.Option(help="Where corpora are kept and the table is written.")],
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(WORKS)}. Can be repeated.")] = None,
) -> None:
    """Time ragqa against its peers; print a table and write bench.md and bench.json."""
    for name in only or ():
        if name not in WORKS:
            raise unknown_name("benchmark", name, WORKS)
    material = prepare(data, folder)
    about = machine()
    print(report.markdown(about, []), end="", flush=True)
    rows: list[Row] = []
    for name in only or [name for name in WORKS if name not in LONG]:
        try:
            for row in WORKS[name](material):
                rows.append(row)
                print(report.line(row), flush=True)
                # After every row: some take minutes, and the last may fail.
                report.write(folder, about, rows)
        except ModuleNotFoundError as error:
            raise UsageError(f"The benchmarks need {error.name}: make install.") from error
    print(f"Written: {folder / 'bench.md'}, {folder / 'bench.json'}", file=sys.stderr)


if __name__ == "__main__":
    run(lambda: typer.run(bench))
