"""Quotations: which units of the passages read make an answer, and how they are shown.

The rule. Units are taken in the order of their share of the evidence (answer/reading.py), each with what it
needs to be understood: the line or heading that introduces a list, all of a short list, what follows a
colon, the sentence before one that begins with "It". That ends when what was taken has ENOUGH of the
evidence, or when the next unit has less than LEAST of the best one's share; a unit that would make the
answer longer than so many words is passed over. Units beside each other in a passage are one quotation; the
one with the best unit comes first.

ENOUGH, LEAST and WORDS were chosen on questions over notes, XQuAD and NQ by `python -m
tests.workshop.reading`, which prints how many words hold how many answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragqa.answer.reading import ReadText
from ragqa.answer.units import Unit, introduces

ENOUGH = 0.9
LEAST = 0.05
# The same for a list's items, which may bring all of it along, and for rows, which look alike.
LEAST_IN_LIST = 0.2
WORDS = 90
# A list of no more words, a block of code of no more lines is quoted whole; of longer code so many lines.
WHOLE_LIST, WHOLE_CODE, LINES_OF_CODE = 60, 16, 9
# How far back a sentence that leans on the one before it may reach.
LEANING = 2

_MARK = re.compile(r"^[ \t>]*(?:[-*+]|\d+[.)])[ \t]+")
_QUOTED = re.compile(r"^[ \t]*>[ \t]?", re.M)
_FENCE = re.compile(r"[ \t]*(?:`{3,}|~{3,})")


@dataclass(frozen=True, slots=True)
class Quotation:
    """Units of the text at `place`, by their numbers in it, with their shares of the evidence together."""

    place: int
    units: tuple[int, ...]
    share: float
    text: str


def quotations(
    read: Sequence[ReadText], words: int = WORDS, most: int | None = None, enough: float = ENOUGH
) -> list[Quotation]:
    """Return what to quote of texts, best first, empty where there is no evidence.

    They have at most `words` words, unless the best unit alone has more, and at most `most` units besides
    those that are only needed by others.
    """
    order = sorted(
        (
            (text.evidence[number].share, -place, -number)
            for place, text in enumerate(read)
            for number in _able(text)
        ),
        reverse=True,
    )
    taken: list[set[int]] = [set() for _ in read]
    covered, left, count = 0.0, words, 0
    said: list[str] = []
    for share, place, number in order:
        place, number = -place, -number
        if count and (covered >= enough or share < LEAST * order[0][0] or count == most):
            break
        text = read[place]
        if text.evidence[number].unit.kind in ("item", "row") and share < LEAST_IN_LIST * order[0][0]:
            continue
        more = needed(text, number) - taken[place]
        length = sum(len(shown(text, one).split()) for one in more)
        plain = " ".join(re.findall(r"\w+", shown(text, number).lower()))
        again = not plain or any(plain in other or other in plain for other in said)
        if number in taken[place] or again or (count and length > left):
            continue
        said.append(plain)
        taken[place] |= more
        count += 1
        left -= length
        covered += sum(text.evidence[one].share for one in more)
    found = [one for place, numbers in enumerate(taken) for one in _runs(read[place], place, sorted(numbers))]
    return sorted(found, key=lambda one: (-one.share, one.place, one.units))


def needed(text: ReadText, number: int) -> set[int]:
    """Return the numbers of the units that a unit is shown with, its own among them."""
    units = [found.unit for found in text.evidence]
    result: set[int] = set()
    todo = [(number, LEANING)]
    while todo:
        place, back = todo.pop()
        if place in result:
            continue
        result.add(place)
        unit = units[place]
        if unit.needs is not None and (back or unit.kind != "sentence"):
            todo.append((unit.needs, back - (unit.kind == "sentence")))
        if introduces(text.text, unit) and place + 1 < len(units) and units[place + 1].kind != "heading":
            todo.append((place + 1, 0))
        if unit.kind == "item":
            whole = [other for other, one in enumerate(units) if one.group == unit.group]
            if sum(len(_said(text, other).split()) for other in whole) <= WHOLE_LIST:
                todo += [(other, 0) for other in whole]
    return result


def shown(text: ReadText, number: int) -> str:
    """Return a unit as it is quoted: a row with its columns' names, of long code the part that matters."""
    unit = text.evidence[number].unit
    if unit.kind == "row":
        return _row(_said(text, number), unit.columns)
    if unit.kind == "code":
        return _code(text, number)
    if unit.kind == "heading":
        return f"{_said(text, number).strip('#=- ').splitlines()[0].rstrip(' #:')}:"
    return _QUOTED.sub("", _said(text, number))


def _able(text: ReadText) -> list[int]:
    return [number for number, found in enumerate(text.evidence) if found.share > 0]


def _said(text: ReadText, number: int) -> str:
    unit = text.evidence[number].unit
    return text.text[unit.start : unit.end]


def _runs(text: ReadText, place: int, numbers: Sequence[int]) -> Iterator[Quotation]:
    """Yield the quotations made of units: those that follow each other, or that need one before a gap."""
    runs: list[list[int]] = []
    for number in numbers:
        needs = text.evidence[number].unit.needs
        if runs and (runs[-1][-1] == number - 1 or needs in runs[-1]):
            runs[-1].append(number)
        else:
            runs.append([number])
    for run in runs:
        share = sum(text.evidence[number].share for number in run)
        yield Quotation(place, tuple(run), share, _joined(text, run))


def _joined(text: ReadText, run: Sequence[int]) -> str:
    """Return the units of a quotation as one text."""
    result = ""
    for place, number in enumerate(run):
        unit = text.evidence[number].unit
        said = shown(text, number)
        if unit.kind == "item" and len(run) == 1:
            said = _MARK.sub("", said)
        if place:
            before = text.evidence[run[place - 1]].unit
            result += _between(text.text, before, unit, number - run[place - 1] > 1)
        result += said
    return result


def _between(text: str, before: Unit, unit: Unit, gap: bool) -> str:
    if gap:
        return "\n…\n"
    if before.group != unit.group:
        return "\n" if before.kind == "heading" or introduces(text, before) else "\n\n"
    return "\n" if "\n" in text[before.end : unit.start] else " "


def _row(line: str, columns: Sequence[str]) -> str:
    """Return a table's row as "problem: lamp flickers; cause: loose cap"."""
    cells = [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
    named = zip(columns, cells, strict=False)
    return "; ".join(f"{column}: {cell}" if column else cell for column, cell in named if cell)


def _code(text: ReadText, number: int) -> str:
    """Return code between fences: all of it, or the lines around the one with most evidence."""
    unit, peak = text.evidence[number].unit, text.evidence[number].peak
    lines = _said(text, number).split("\n")
    at = text.text.count("\n", unit.start, peak)
    opening = lines.pop(0).strip() if _FENCE.match(lines[0]) else ""
    at = max(at - bool(opening), 0)
    if lines and _FENCE.match(lines[-1]):
        lines.pop()
    if not opening and all(line.startswith(("    ", "\t")) or not line.strip() for line in lines):
        lines = [line[4:] if line.startswith("    ") else line[1:] for line in lines]
    if len(lines) > WHOLE_CODE:
        first = max(min(at - LINES_OF_CODE // 2, len(lines) - LINES_OF_CODE), 0)
        last = first + LINES_OF_CODE
        lines = [*(["…"] if first else []), *lines[first:last], *(["…"] if last < len(lines) else [])]
    fence = re.match(r"`+|~+", opening)
    return "\n".join([opening or "```", *lines, fence[0] if fence else "```"])
