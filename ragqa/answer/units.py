"""What can be quoted of a passage: its sentences, list items, rows and blocks of code, and what each needs.

A unit is the smallest part that may be chosen. Some are not understood alone: what follows a colon, a list
item without what introduces its list, a sentence that begins with "It"; `needs` says what has to come along.

Markdown is read by markdown-it. A passage may begin within a block of code: whether it does is told by the
fences in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

from ragqa.answer.sentences import split_sentences

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

Kind = Literal["sentence", "item", "row", "code", "heading"]

# Words with which a sentence begins that speaks of what the one before it said.
_LEANS = re.compile(
    r"[\W_]*(?:it|its|this|that|these|those|they|their|he|she|his|her|such|so|then|however|but|also|instead|"
    r"otherwise|therefore|thus|hence|both|which|the (?:former|latter|same))\b",
    re.I,
)
_MARK = re.compile(r"[ \t>]*(?:[-*+]|\d+[.)])[ \t]")
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[ \t]*(?P<info>\S*)", re.M)


@dataclass(frozen=True, slots=True)
class Unit:
    """`text[start:end]` of a passage.

    `group` is the same for the sentences of a paragraph, all that is in a list and the rows of a table.
    `columns` are the names of a row's columns. `needs` is the place of the unit without which this one is not
    understood, if there is one.
    """

    start: int
    end: int
    kind: Kind
    group: int
    columns: tuple[str, ...] = ()
    needs: int | None = None


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines `first` to before `last` of a text."""

    kind: Kind
    first: int
    last: int
    group: int
    columns: tuple[str, ...] = ()


def split_units(text: str) -> list[Unit]:
    """Return the units of `text`, in order, none overlapping another."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    found: list[Unit] = []
    inside = begins_in_code(text)
    for block in _blocks(_parser().parse(f"```\n{text}" if inside else text)):
        first, last = max(block.first - inside, 0), min(block.last - inside, len(starts) - 1)
        start, end = starts[first], min(starts[last] - 1, len(text))
        if block.kind in ("sentence", "item"):
            spans = [(start + begin, start + stop) for begin, stop in split_sentences(text[start:end])]
        else:
            stripped = text[start:end].strip("\n")
            begin = start + text[start:end].index(stripped)
            spans = [(begin, begin + len(stripped))]
        found += [
            Unit(begin, stop, block.kind, block.group, block.columns) for begin, stop in spans if begin < stop
        ]
    return [replace(unit, needs=_needed(text, found, place)) for place, unit in enumerate(found)]


def begins_in_code(text: str) -> bool:
    """Tell whether a text begins within a fenced block of code: its first fence closes that.

    A fence that names a language opens a block. Where none does, an odd number of fences is one of a block
    that began before, unless what stands before the first introduces code.
    """
    fences = list(_FENCE.finditer(text))
    named = next((place for place, fence in enumerate(fences) if fence["info"]), None)
    if named is not None:
        return named % 2 == 1
    before = text[: fences[0].start()].rstrip() if fences else ""
    return len(fences) % 2 == 1 and bool(before) and not before.endswith((":", ".", "!", ")", "?"))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # What is within a line says nothing of blocks, and takes most of the time.
    return MarkdownIt("commonmark").enable("table").disable("inline")


def _blocks(tokens: Sequence[Token]) -> Iterator[_Block]:
    """Yield the leaves of parsed Markdown, in order."""
    items = group = 0
    columns: tuple[str, ...] = ()
    cells: list[str] = []
    for token in tokens:
        lines = token.map or [0, 0]
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                group += items == 0
                items += 1
            case "bullet_list_close" | "ordered_list_close":
                items -= 1
                group += items == 0
            case "table_open":
                group += 1
                columns = ()
            case "tr_open":
                cells = []
                row = lines
            case "tr_close" if columns:
                yield _Block("row", row[0], row[1], group, columns)
            case "tr_close":
                columns = tuple(cells)
            case "table_close":
                group += 1
            case "heading_open":
                group += 1
                yield _Block("heading", lines[0], lines[1], group)
            case "fence" | "code_block" | "html_block":
                group += items == 0
                yield _Block("code" if token.type != "html_block" else "sentence", lines[0], lines[1], group)
            case "paragraph_open":
                group += items == 0
                yield _Block("item" if items else "sentence", lines[0], lines[1], group)
            case "inline":
                cells.append(token.content.strip())
            case _:
                pass


def _needed(text: str, units: Sequence[Unit], place: int) -> int | None:
    """Return the place of the unit that the one at `place` needs."""
    unit = units[place]
    if place == 0 or unit.kind in ("heading", "row"):
        return None
    before = units[place - 1]
    if before.kind == "heading" and unit.kind != "item":
        return None
    if unit.kind == "item":
        if not _MARK.match(text, _line_start(text, unit.start)):
            return place - 1 if before.group == unit.group else None
        first = next(at for at in range(place, -1, -1) if at == 0 or units[at - 1].group != unit.group)
        intro = first > 0 and (units[first - 1].kind == "heading" or introduces(text, units[first - 1]))
        return first - 1 if intro else None
    if introduces(text, before) or (unit.kind == "sentence" and _LEANS.match(text, unit.start)):
        return place - 1
    return None


def _line_start(text: str, place: int) -> int:
    """Return where the line of a unit begins; where something else stands before it on the line, its own."""
    start = text.rfind("\n", 0, place) + 1
    return start if not text[start:place].strip() else place


def introduces(text: str, unit: Unit) -> bool:
    """Tell whether a unit announces what comes after it."""
    return unit.kind != "heading" and text[unit.start : unit.end].rstrip("*_ ").endswith(":")
