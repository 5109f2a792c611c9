"""How things look: JSON for programs on stdout, lines for people, notes and progress on stderr."""

from __future__ import annotations

import itertools
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ragqa.types import Answer, Context, Hit, SearchResult

if TYPE_CHECKING:
    from ragqa.compare import Comparison

# C0 and C1 control characters except tab and newline, and the marks that turn text around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
SNIPPET = 240


def plain(text: str) -> str:
    """Return `text` without characters that a terminal would obey."""
    return _CONTROL.sub("\ufffd", text)


def note(text: str) -> None:
    """Tell the user something that is not the result."""
    print(plain(text), file=sys.stderr)


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def search_json(result: SearchResult) -> dict[str, Any]:
    """Return the documented form of `search --json`."""
    return {
        "question": result.question,
        "config": result.config,
        "hits": [hit_json(hit) for hit in result.hits],
        "timings_ms": dict(result.timings_ms),
    }


def hit_json(hit: Hit) -> dict[str, Any]:
    """Return one element of `hits` in the documented forms."""
    passage = hit.passage
    return {
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "document_id": passage.document_id,
        "passage_id": passage.id,
        "title": passage.title,
        "source": passage.source,
        "text": passage.text,
        "metadata": dict(passage.metadata),
        "scores": {stage: round(score, 6) for stage, score in hit.scores.items()},
    }


def answer_json(answer: Answer) -> dict[str, Any]:
    """Return the documented form of `ask --json`."""
    return {
        **search_json(answer.search),
        "timings_ms": dict(answer.timings_ms),
        "answer": answer.text,
        "model": answer.model,
        "context_tokens": answer.context.tokens,
        "citations": [
            {
                "number": citation.number,
                "document_id": citation.passage.document_id,
                "passage_id": citation.passage.id,
            }
            for citation in answer.citations
        ],
    }


def context_json(result: SearchResult, context: Context) -> dict[str, Any]:
    """Return the documented form of `context --json`."""
    return {
        **search_json(result),
        "context": context.text,
        "context_tokens": context.tokens,
        "passages": [
            {
                "number": block.number,
                "document_id": block.first.document_id,
                "passage_ids": [passage.id for passage in block.passages],
            }
            for block in context.blocks
        ],
    }


def print_hits(hits: Sequence[Hit]) -> None:
    """Print each hit's rank, title, id and score, and the beginning of its text."""
    for hit in hits:
        passage = hit.passage
        path = " > ".join((passage.title or passage.document_id, *passage.headings))
        scores = ", ".join(f"{stage} {score:.4g}" for stage, score in hit.scores.items())
        print(plain(f"{hit.rank:>3}. {path}"))
        print(plain(f"     {passage.id}  ({scores})"))
        snippet = textwrap.shorten(plain(passage.text), SNIPPET, placeholder=" …")
        print(textwrap.indent(textwrap.fill(snippet, 92), "     "))


def print_sources(answer: Answer) -> None:
    """Print the passages that the answer cites, by number, or those it was given when it cites none."""
    cited = [(citation.number, citation.passage) for citation in answer.citations]
    given = [(block.number, block.first) for block in answer.context.blocks]
    print("\nSources" if cited else "\nThe answer cites nothing. It was given")
    for number, passage in cited or given:
        where = passage.source if passage.source.startswith("http") else passage.document_id
        print(plain(f"[{number}] {passage.title or passage.document_id} ({where})"))


def comparison_json(compared: Comparison) -> dict[str, Any]:
    """Return the documented form of `compare --json`."""
    names = list(compared.results)
    return {
        "question": compared.question,
        "configs": {
            name: {
                "hits": [hit_json(hit) for hit in result.hits],
                "timings_ms": dict(result.timings_ms),
                "found_alone": compared.found_alone(name),
            }
            for name, result in compared.results.items()
        },
        "documents": [
            {"document_id": document.document_id, "title": document.title, "ranks": dict(document.ranks)}
            for document in compared.documents
        ],
        "overlap": {
            f"{one} / {other}": round(compared.overlap(one, other), 3)
            for one, other in itertools.combinations(names, 2)
        },
        "answers": {label: answer_json(answer) for label, answer in compared.answers.items()},
    }


def print_comparison(compared: Comparison) -> None:
    """Print a table of documents by configs, what each found alone, their overlap, times, and answers."""
    names = list(compared.results)
    width = max(6, *(len(name) for name in names))
    print("  ".join(f"{name:>{width}}" for name in names) + "  document")
    for document in compared.documents:
        ranks = "  ".join(f"{document.ranks.get(name, '·'):>{width}}" for name in names)
        print(plain(f"{ranks}  {document.title or document.document_id} ({document.document_id})"))
    print()
    for name, result in compared.results.items():
        times = ", ".join(f"{stage} {value:,.0f} ms" for stage, value in result.timings_ms.items())
        print(f"{name:<{width}}  {times}; found alone: {len(compared.found_alone(name))}")
    for one, other in itertools.combinations(names, 2):
        print(f"{one} and {other} share {compared.overlap(one, other):.0%} of their documents")
    for label, answer in compared.answers.items():
        print(plain(f"\n{label}:\n{answer.text.strip()}"))
        print_sources(answer)


def print_timings(timings: Mapping[str, float]) -> None:
    note(", ".join(f"{stage} {value:,.0f} ms" for stage, value in timings.items()))


def print_table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> None:
    """Print rows of cells, the first being the heading, in columns as wide as they need."""
    widths = [max(len(plain(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            plain(cell).ljust(width) if column in left else plain(cell).rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def size(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar on stderr while the block runs; yields a function of done and total."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
