"""An explanation as a page to look around in, or as a part of another page.

What both show is in `shading.html`; it is styled by `shading.css` and moved by `page.js`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.errors import RagqaError
from ragqa.explain.segments import Segment, segments, shown, shown_text
from ragqa.matching.words import is_lexical
from ragqa.safety.templates import render
from ragqa.types import ExplainedHit, Explanation, Matches, QueryWord

if TYPE_CHECKING:
    pass


def write_page(explanation: Explanation, path: Path) -> None:
    """Write the page to `path`; raises RagqaError where that cannot be written."""
    try:
        path.write_text(explanation_html(explanation), encoding="utf-8")
    except OSError as error:
        raise RagqaError(f"{path} cannot be written: {error.strerror}.") from error


def explanation_html(explanation: Explanation) -> str:
    """Return one HTML page that loads nothing from elsewhere and runs no script but its own."""
    from markupsafe import Markup

    script = asset("page.js")
    # The page allows the script with this hash: one that a passage brought in would not run.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # In the script and the style are only letters that stand for themselves.
    return _render(
        "page.html", explanation, script=Markup(script), style=Markup(asset("shading.css")), digest=digest
    )


def explanation_fragment(explanation: Explanation) -> str:
    """Return the question and its passages as HTML, to be put into a page.

    The page has the assets `shading.css` and `page.js`, and an element with the id `said`, hidden, for
    what is said of a word. There is one fragment at a time. No style and no script is in it.
    """
    return _render("fragment.html", explanation)


def asset(name: str) -> str:
    """Return the text of `shading.css` or `page.js`."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


_FILTERS = (("number", lambda value: f"{value:.4g}"), ("two", lambda value: f"{value:.2f}"))


def _render(template: str, explanation: Explanation, **others: Any) -> str:
    index = {word: place for place, word in enumerate(explanation.query_words)}
    values = {
        "explanation": explanation,
        "hits": [_hit(explained, index) for explained in explanation.hits],
        "question": _question(explanation),
        "specials": [(place, word.text) for word, place in index.items() if not word.end],
    }
    return render("ragqa.explain", template, {**values, **others}, filters=_FILTERS)


def _question(explanation: Explanation) -> list[tuple[str, int | None]]:
    """Return the question in pieces, each with the place of its query word; words in words are left out."""
    pieces: list[tuple[str, int | None]] = []
    place = 0
    for number, word in enumerate(explanation.query_words):
        if word.end and word.start >= place:
            pieces += [(explanation.question[place : word.start], None), (word.text, number)]
            place = word.end
    pieces.append((explanation.question[place:], None))
    return [piece for piece in pieces if piece[0]]


def _hit(explained: ExplainedHit, index: Mapping[QueryWord, int]) -> dict[str, Any]:
    """Return what the page shows of a hit."""
    main = shown(explained)
    text = shown_text(explained)
    pieces = [_piece(segment, main, explained, index) for segment in segments(explained, text)]
    # One word of a passage can be reached with Tab, the others from there with arrow keys.
    for piece in [piece for piece in pieces if piece["word"]][:1]:
        piece["first"] = True
    return {
        "explained": explained,
        "passage": explained.hit.passage,
        "ranks": explained.steps,
        "pieces": pieces,
        "stages": explained.matches[::-1],
        "rows": _rows(explained, index),
    }


def _piece(
    segment: Segment, main: Matches | None, explained: ExplainedHit, index: Mapping[QueryWord, int]
) -> dict[str, Any]:
    """Return a stretch of text with the query words that light it up, and what is said of it."""
    end = segment.start + len(segment.text)
    lit: dict[int, None] = {}
    said: list[str] = []
    if main and segment.match and (segment.level or not is_lexical(segment.text)):
        lit[index[main.query[segment.match.query].word]] = None
    if main and segment.match:
        word = main.query[segment.match.query].word
        said.append(f"{main.stage}: {word.text} {segment.match.similarity:.2f}")
    for matches in explained.matches:
        for match in matches.query:
            if match.best and match.best[0] < end and match.best[1] > segment.start:
                lit[index[match.word]] = None
        if matches is not main:
            for found in matches.words:
                if found.start < end and found.end > segment.start:
                    lit[index[matches.query[found.query].word]] = None
                    said.append(f"{matches.stage}: {matches.query[found.query].word.text}")
    return {
        "text": segment.text,
        "level": segment.level,
        "also": segment.also,
        "word": bool(segment.match or segment.also),
        "first": False,
        "lit": " ".join(map(str, lit)),
        "of": index[main.query[segment.match.query].word] if main and segment.match else "",
        "said": " · ".join(dict.fromkeys(said)),
    }


def _rows(explained: ExplainedHit, index: Mapping[QueryWord, int]) -> list[dict[str, Any]]:
    """Return the table of query words: what each was worth to every stage."""
    columns = [
        (matches, {match.word: match for match in matches.query}) for matches in explained.matches[::-1]
    ]
    rows = []
    for word, number in index.items():
        if not any(word in column for _, column in columns):
            continue
        cells = []
        for matches, column in columns:
            match = column.get(word)
            part = max(match.share / matches.total, 0.0) if match and matches.total > 0 else 0.0
            best = matches.text[slice(*match.best)] if match and match.best else ""
            cells.append({"match": match, "part": part, "best": best})
        rows.append({"number": number, "text": word.text, "cells": cells})
    return rows
