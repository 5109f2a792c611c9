"""How an explanation looks: a shaded passage, and a table of query words."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence

from ragqa.cli.show import is_plain, plain, say, width
from ragqa.explain.segments import Segment, segments, shown_text
from ragqa.safety.untrusted import for_line
from ragqa.types import ExplainedHit, Explanation, Hit, Matches, QueryMatch, QueryWord

# Amber text, then black on amber, of the 256 colours: each stands out more than the one before, on dark and
# on light terminals.
_STYLES = ("", "38;5;136", "1;38;5;166", "38;5;16;48;5;179", "1;38;5;16;48;5;208")
_UNDERLINE = "4"
# Where there are no colours: what stands around a word of each level.
_MARKS = (("", ""), ("", ""), ("‹", "›"), ("‹", "›"), ("«", "»"))
_WIDEST = 24


def print_explanation(explanation: Explanation) -> None:
    """Print each hit's passage with its words shaded, and what each query word was worth to each stage."""
    color = has_color()
    for explained in explanation.hits:
        _print_hit(explained, explanation, color)
    if any(explained.matches for explained in explanation.hits):
        print(_legend(color, any(len(explained.matches) > 1 for explained in explanation.hits)))


def has_color() -> bool:
    """Tell whether stdout shows colours, and the user wants them."""
    return sys.stdout.isatty() and not is_plain()


def journey(explained: ExplainedHit, candidates: int) -> str:
    """Return which rank each stage gave a passage, and which it has in the end."""
    if explained.outside:
        return f"not among the {candidates:,} candidates"
    steps = ", ".join(f"{stage} {rank}" for stage, rank in explained.steps)
    return f"{steps} -> rank {explained.hit.rank}"


def _print_hit(explained: ExplainedHit, explanation: Explanation, color: bool) -> None:
    passage = explained.hit.passage
    rank = "  –" if explained.outside else f"{explained.hit.rank:>3}"
    path = " > ".join((passage.title or passage.document_id, *passage.headings))
    say(f"{rank}. {path}")
    say(f"     {passage.id_and_place}  ({journey(explained, explanation.candidates)})")
    say(f"     scores: {_scores(explained.hit)}")
    print()
    text = shown_text(explained)
    shaded = "".join(_shaded(segment, color) for segment in segments(explained, text))
    # Moved in, so that no line of it looks like the next hit.
    print(textwrap.indent(shaded, "     "))
    print()
    if explained.matches:
        _print_table(explained, explanation.query_words)
    else:
        say("     No stage of this config says which words matched.")
    for matches in explained.matches:
        if matches.note:
            say(f"     {matches.stage}: {matches.note}")
    print()


def _shaded(segment: Segment, color: bool) -> str:
    # Marks, joiners and such belong to the word before: what is made safe keeps its length.
    text = plain(segment.text)
    if not color:
        opening, closing = _MARKS[segment.level]
        return f"{opening}{text}{closing}"
    codes = ";".join(filter(None, (_STYLES[segment.level], _UNDERLINE if segment.also else "")))
    return f"\x1b[{codes}m{text}\x1b[0m" if codes else text


def _legend(color: bool, several: bool) -> str:
    if not color:
        return "«strong» and ‹weaker› matches with a word of the question"
    shades = "".join(f"\x1b[{style}m {word} \x1b[0m" for style, word in zip(_STYLES[1:], _WORDS, strict=True))
    also = f"; \x1b[{_UNDERLINE}munderlined\x1b[0m: another stage matched it as well" if several else ""
    return f"{shades} match with a word of the question{also}"


_WORDS = ("weak", "fair", "good", "strong")


def _scores(hit: Hit) -> str:
    return ", ".join(f"{stage} {score:.4g}" for stage, score in hit.scores.items()) or "none"


def _print_table(explained: ExplainedHit, words: Sequence[QueryWord]) -> None:
    """Print a row per query word: for each stage its share, and the word that matches best."""
    columns = [{match.word: match for match in matches.query} for matches in reversed(explained.matches)]
    rows = [["query word"]]
    for matches in reversed(explained.matches):
        rows[0] += [matches.stage, "share", "best match"]
    for word in words:
        if not any(word in column for column in columns):
            continue
        row = [_short(word.text)]
        for column, matches in zip(columns, reversed(explained.matches), strict=True):
            row += _cells(column.get(word), matches)
        rows.append(row)
    rows.append(["total"])
    for matches in reversed(explained.matches):
        rows[-1] += [f"{matches.total:.2f}", "", ""]
    left = {0, *range(3, 3 * len(columns) + 1, 3)}
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            _fill(cell, wide, at in left) for at, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ]
        say("     " + "  ".join(cells).rstrip())


def _cells(match: QueryMatch | None, matches: Matches) -> list[str]:
    if match is None:
        return ["", "", ""]
    part = f"{match.share / matches.total:.0%}" if matches.total > 0 else ""
    if match.best is None:
        return [f"{match.share:.2f}", part, "–" if match.share == 0 else "(no word)"]
    best = _short(matches.text[slice(*match.best)])
    return [f"{match.share:.2f}", part, f"{best} {match.similarity:.2f}"]


def _short(text: str) -> str:
    line = for_line(text)
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"


def _fill(text: str, columns: int, left: bool) -> str:
    space = " " * (columns - width(text))
    return text + space if left else space + text
