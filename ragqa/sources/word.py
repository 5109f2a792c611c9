"""Word, OpenDocument text and RTF: headings, lists, tables, footnotes, and comments said apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ragqa.sources.loader import File
from ragqa.sources.ole import refuse_encrypted
from ragqa.sources.plain import text_document
from ragqa.sources.source import Item
from ragqa.sources.text import Readable, UnreadableError, clean, clean_title, read_file, read_markup

# What mammoth makes of styles beyond its own rules: the title is a heading, comments are kept.
_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh\ncomment-reference => sup"
_COMMENT = re.compile(r'<dt id="comment-\d+">(?:Comment )?(.*?)</dt><dd>(.*?)</dd>', re.S)
_BACK = re.compile(r'<a href="#(?:footnote|endnote|comment)-ref-[^"]*">.*?</a>', re.S)
_INNER_LINK = re.compile(r'<a href="#[^"]*"[^>]*>(.*?)</a>', re.S)


def read_docx(file: File) -> Iterator[Item]:
    """Yield a Word document; raises UnreadableError for a damaged or encrypted one."""
    import mammoth

    refuse_encrypted(file)
    try:
        with file.path.open("rb") as opened:
            no_image = mammoth.images.img_element(lambda image: {"src": ""})
            html = mammoth.convert_to_html(opened, style_map=_STYLES, convert_image=no_image).value
    except (KeyError, ValueError, OSError) as error:
        raise UnreadableError("damaged (no Word document)") from error
    html, comments = _without_comments(html)
    html = _INNER_LINK.sub(r"\1", _BACK.sub("", html))
    readable = read_markup(f"<html><body>{html}{comments}</body></html>", "html")
    yield text_document(file, Readable(readable.text, "markdown", _title(readable.text)), None)


def read_odt(file: File) -> Iterator[Item]:
    """Yield an OpenDocument text."""
    from odfdo import Document as OpenDocument

    try:
        opened = OpenDocument(file.path)
        text = clean(str(opened.to_markdown()))
        title = str(opened.meta.title or "")
    except (KeyError, ValueError, OSError, AttributeError, TypeError) as error:
        raise UnreadableError("damaged (no OpenDocument)") from error
    yield text_document(file, Readable(text, "markdown", clean_title(title) or _title(text)), None)


def read_rtf(file: File) -> Iterator[Item]:
    """Yield the text of an RTF file."""
    from striprtf.striprtf import rtf_to_text

    raw = read_file(file.path).decode("latin-1")
    if not raw.lstrip().startswith("{\\rtf"):
        raise UnreadableError("not RTF")
    text = clean(str(rtf_to_text(raw, errors="ignore")))  # type: ignore[no-untyped-call]
    text = re.sub(r"\n{3,}", "\n\n", text)
    yield text_document(file, Readable(text.strip("\n"), "text", ""), None)


def _without_comments(html: str) -> tuple[str, str]:
    """Return the text without its comments, and those as a section of their own."""
    found = _COMMENT.findall(html)
    if not found:
        return html, ""
    listed = "".join(f"<li>{name}: {said}</li>" for name, said in found)
    return _COMMENT.sub("", html), f"<h2>Comments</h2><ul>{listed}</ul>"


def _title(markdown: str) -> str:
    first: Any = re.search(r"^# (.+)$", markdown, re.M)
    return clean_title(first[1]) if first else ""
