"""How several configs or models at one question look, side by side."""

from __future__ import annotations

import itertools

import typer

from ragqa.cli.show import say
from ragqa.cli.show_answer import marked, print_after
from ragqa.operations.compare import SideBySide


def print_comparison(compared: SideBySide) -> None:
    """Print a table of documents by configs, what each found alone, their overlap, times, and answers."""
    names = list(compared.results)
    width = max(6, *(len(name) for name in names))
    say("  ".join(f"{name:>{width}}" for name in names) + "  document")
    for document in compared.documents:
        ranks = "  ".join(f"{document.ranks.get(name, '·'):>{width}}" for name in names)
        say(f"{ranks}  {document.title or document.document_id} ({document.document_id})")
    say()
    for name, result in compared.results.items():
        times = ", ".join(f"{stage} {value:,.0f} ms" for stage, value in result.timings_ms.items())
        say(f"{name:<{width}}  {times}; found alone: {len(compared.found_alone(name))}")
    for one, other in itertools.combinations(names, 2):
        say(f"{one} and {other} share {compared.overlap(one, other):.0%} of their documents")
    for label, answer in compared.answers.items():
        say()
        say(f"{label}:")
        typer.echo(marked(answer), nl=False)
        print_after(answer)
