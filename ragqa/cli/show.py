"""How things look: JSON for programs on stdout, lines for people, notes and progress on stderr."""

from __future__ import annotations

import os
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ragqa.cli.links import linked
from ragqa.safety.redaction import redacted
from ragqa.safety.untrusted import for_line, for_terminal, to_json
from ragqa.types import Hit

SNIPPET = 240


@dataclass(slots=True)
class _Voice:
    quiet: bool = False


# One for the process: notes come from other threads, too.
_voice = _Voice()


def be_quiet() -> None:
    """Show no notes and no progress from now on."""
    _voice.quiet = True


def is_plain() -> bool:
    """Tell whether the user or the terminal wants no colours, however able it is (https://no-color.org)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def plain(text: str) -> str:
    """Return `text` without what a terminal would obey or a reader could not see; its lines stay."""
    return for_terminal(text)


def say(text: str = "") -> None:
    """Print one line for people. A title, a name or an id of somebody else's in it begins no other."""
    print(for_line(text))


def say_text(text: str) -> None:
    """Print lines for people, such as an answer's."""
    print(for_terminal(text))


def note(text: str) -> None:
    """Tell the user, in a line, something that is not the result; --quiet keeps it back."""
    if not _voice.quiet:
        error(text)


def error(text: str) -> None:
    """Tell the user, in a line, what went wrong. What a server answered may be in it, and a key in that."""
    print(for_line(redacted(text)), file=sys.stderr)


def print_json(value: Any) -> None:
    print(to_json(value, indent=2))


def print_hits(hits: Sequence[Hit], full: bool = False) -> None:
    """Print each hit's rank, title, id and score, and the beginning of its text, or with `full` all of it."""
    for hit in hits:
        passage = hit.passage
        path = " > ".join((passage.title or passage.document_id, *passage.headings))
        scores = ", ".join(f"{stage} {score:.4g}" for stage, score in hit.scores.items())
        say(f"{hit.rank:>3}. {path}")
        print(f"     {linked(passage.id_and_place, passage)}  {for_line(f'({scores})')}")
        if full:
            # Moved in, so that no line of it looks like the next hit.
            say_text(textwrap.indent(passage.text.strip(), "     ") + "\n")
            continue
        snippet = textwrap.shorten(plain(passage.text), SNIPPET, placeholder=" …")
        say_text(textwrap.indent(textwrap.fill(snippet, 92), "     "))


def print_timings(timings: Mapping[str, float]) -> None:
    note(", ".join(f"{stage} {value:,.0f} ms" for stage, value in timings.items()))


def print_table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> None:
    """Print rows of cells, the first being the heading, in columns as wide as they need."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        say("  ".join(cells).rstrip())


def width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.category(char) in ("Mn", "Me", "Cf") for char in text)


def has_bars() -> bool:
    """Tell whether progress is shown as bars that move: on a terminal that is able, unless --quiet."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not _voice.quiet


@contextmanager
def progress(
    label: str, about: Callable[[], str] = lambda: ""
) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar on stderr while the block runs; yields a function of done and total.

    What `about` returns then stands behind the label.
    """
    if not has_bars():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # What stands in the label is text, and no markup of rich's.
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(for_line(label), total=None)

        def advance(done: int, total: int | None) -> None:
            said = about()
            bars.update(
                task,
                completed=done,
                total=total,
                description=for_line(f"{label} ({said})" if said else label),
            )

        yield advance
