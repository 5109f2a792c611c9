"""`python -m tests.workshop.scale`: encode on two nodes, push, grow, search; print the table as it grows."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ragqa.cli.run import run
from ragqa.evaluate.environment import machine
from tests.workshop.scale import encoding, searching
from tests.workshop.scale.material import SIZES, Material, prepare

WORKS: dict[str, Callable[[Material], Iterator[tuple[str, str]]]] = {
    "encode": encoding.two_nodes,
    "kinds": searching.kinds,
    "push": searching.pushed,
    "same": searching.same,
    "recall": searching.recall,
    "readers": searching.readers,
}


def scale(
    data: Annotated[Path, typer.Option(help="The folder with the collections.")],
    folder: Annotated[Path, typer.Option(help="Where corpora, datasets and the table are kept.")],
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(WORKS)}. Can be repeated.")] = None,
    passages: Annotated[int, typer.Option(help="Real passages at most.")] = 50_000,
    sizes: Annotated[str, typer.Option(help="Sizes of the grown corpora.")] = ",".join(map(str, SIZES)),
) -> None:
    """Print what each work measured, and keep it in scale.json; a work that is done is not done again."""
    folder.mkdir(parents=True, exist_ok=True)
    material = prepare(data, folder, passages, tuple(int(size) for size in sizes.split(",")))
    kept = folder / "scale.json"
    rows: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"machine": machine()}
    print(f"Machine: {rows['machine']}\n\n| what | measured |\n| --- | --- |", flush=True)
    for name in only or WORKS:
        if name not in rows:
            rows[name] = []
            for row in WORKS[name](material):
                rows[name].append(row)
                print(f"| {row[0]} | {row[1]} |", flush=True)
            kept.write_text(json.dumps(rows, indent=1, default=str))
            continue
        for row in rows[name]:
            print(f"| {row[0]} | {row[1]} |", flush=True)
    print(f"Written: {kept}", file=sys.stderr)


if __name__ == "__main__":
    run(lambda: typer.run(scale))
