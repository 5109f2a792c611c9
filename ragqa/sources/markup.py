"""reStructuredText, Org, AsciiDoc and TeX as Markdown: their headings become headings, line by line.

Nothing else is changed, so that a line of the document is a line of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ragqa.sources.loader import File
from ragqa.sources.plain import lines_of, text_document
from ragqa.sources.source import Item
from ragqa.sources.text import clean, decode, read_file, read_markup

# A line of one such character below a line that is no longer makes that a heading in reStructuredText.
_RST_UNDERLINE = re.compile(r"([=\-~^\"'`#*+:.<>_])\1{2,}[ \t]*")
_ORG_HEADING = re.compile(r"^(\*+)[ \t]+(?:(?:TODO|DONE)[ \t]+)?(.*?)(?:[ \t]+:[\w@:]+:)?[ \t]*$", re.M)
_ORG_TITLE = re.compile(r"^#\+title:[ \t]*(.+)$", re.M | re.I)
_ADOC_HEADING = re.compile(r"^(={1,6})[ \t]+(\S.*)$", re.M)
_TEX_LEVELS = ("part", "chapter", "section", "subsection", "subsubsection", "paragraph")
_TEX_HEADING = re.compile(rf"^[ \t]*\\({'|'.join(_TEX_LEVELS)})\*?(?:\[[^\]]*\])?\{{([^{{}}]*)\}}.*$", re.M)
_TEX_TITLE = re.compile(r"^[ \t]*\\title\{([^{}]*)\}.*$", re.M)


def read(file: File) -> Iterator[Item]:
    raw = clean(decode(read_file(file.path)))
    if file.format != "auto":
        readable = read_markup(raw, file.format)
        yield text_document(file, readable, lines_of(readable.text, raw) if file.format != "html" else None)
        return
    converted = _CONVERT[file.path.suffix.lower()](raw)
    readable = read_markup(converted, "markdown")
    yield text_document(file, readable, lines_of(readable.text, converted))


def _from_rst(text: str) -> str:
    lines = text.split("\n")
    # Which level a character stands for is settled by the order in which they come.
    levels: list[str] = []
    for place in range(1, len(lines)):
        found = _RST_UNDERLINE.fullmatch(lines[place])
        title = lines[place - 1].strip()
        if (
            not found
            or not title
            or _RST_UNDERLINE.fullmatch(title)
            or len(lines[place].strip()) < len(title)
        ):
            continue
        if lines[place - 1].startswith((" ", "#")):
            continue
        if found[1] not in levels:
            levels.append(found[1])
        lines[place - 1] = f"{'#' * min(levels.index(found[1]) + 1, 6)} {title}"
        lines[place] = ""
        if place > 1 and _RST_UNDERLINE.fullmatch(lines[place - 2]):
            lines[place - 2] = ""
    return "\n".join(lines)


def _from_org(text: str) -> str:
    text = _ORG_HEADING.sub(lambda found: f"{'#' * min(len(found[1]), 6)} {found[2]}", text)
    return _ORG_TITLE.sub(lambda found: f"# {found[1]}", text, count=1)


def _from_adoc(text: str) -> str:
    return _ADOC_HEADING.sub(lambda found: f"{'#' * len(found[1])} {found[2]}", text)


def _from_tex(text: str) -> str:
    text = _TEX_TITLE.sub(lambda found: f"# {found[1]}", text, count=1)
    # An article begins with sections, a book with chapters.
    top = min((_TEX_LEVELS.index(found[1]) for found in _TEX_HEADING.finditer(text)), default=0)
    return _TEX_HEADING.sub(lambda found: f"{'#' * (_TEX_LEVELS.index(found[1]) - top + 1)} {found[2]}", text)


_CONVERT: dict[str, Callable[[str], str]] = {
    ".rst": _from_rst,
    ".org": _from_org,
    ".adoc": _from_adoc,
    ".asciidoc": _from_adoc,
    ".tex": _from_tex,
}
