"""PDF: text by page in reading order, headings, rows of tables, the title, the labels of pages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from ragqa.sources import ocr
from ragqa.sources.loader import File
from ragqa.sources.parts import Section, joined
from ragqa.sources.pdf_layout import Line, Piece, lines, markdown
from ragqa.sources.source import Item, Skipped, UnderWay
from ragqa.sources.text import UnreadableError, clean, clean_title
from ragqa.types import Document

# A page with fewer letters is one without text: a number, a stamp.
FEWEST_LETTERS = 8
# After so many pages it is said how far the reading is.
SAID_EVERY = 50
# Names that programs leave as a title.
_NO_TITLE = re.compile(
    r"\(?(?:untitled|anonymous|unspecified)\)?|microsoft word - .*|.*\.(?:docx?|tex|dvi|pdf|indd|qxd|pages)",
    re.I,
)
_DATE = re.compile(r"D:(\d{4})(\d{2})(\d{2})")
_DEEPEST_OUTLINE = 6


def read(file: File) -> Iterator[Item]:
    """Yield a PDF's document, and how many of its pages hold no text.

    Raises UnreadableError for a damaged one, and for an encrypted one without its password.
    """
    import pypdfium2
    import pypdfium2.raw

    try:
        opened = pypdfium2.PdfDocument(file.path, password=file.password or None)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            wrong = "the password does not open it" if file.password else "--password opens it"
            raise UnreadableError(f"encrypted ({wrong})") from error
        raise UnreadableError("damaged (no PDF)") from error
    with opened as pdf:
        pages: list[list[Line]] = []
        for number, page in enumerate(pdf, 1):
            pages.append(_lines(page))
            if number % SAID_EVERY == 0:
                yield UnderWay(file.name, number, len(pdf))
        labels = [clean_title(pdf.get_page_label(number)) or str(number + 1) for number in range(len(pdf))]
        texts = markdown(pages, _outline(pdf, len(pages)))
        bare = [number for number, text in enumerate(texts) if sum(map(str.isalpha, text)) < FEWEST_LETTERS]
        if bare and ocr.is_there():
            for number in bare:
                yield UnderWay(file.name, number + 1, len(pdf))
                texts[number] = ocr.read_page(pdf[number]) or texts[number]
            bare = []
        scanned = sum(_has_image(pdf[number]) for number in bare)
        sections = [Section(label, clean(text)) for label, text in zip(labels, texts, strict=True)]
        document = joined(file, "page", sections, title=_title(pdf), metadata=_metadata(pdf))
    if isinstance(document, Document) or not scanned:
        yield document
    if scanned:
        several = "pages hold" if scanned > 1 else "page holds"
        reason = f"{scanned:,} {several} no text (scanned?): pip install 'ragqa[ocr]'"
        yield Skipped(file.name, reason, unread=True)


def _lines(page: Any) -> list[Line]:
    text = page.get_textpage()
    pieces = []
    for number in range(text.count_rects()):
        left, bottom, right, top = text.get_rect(number)
        said = text.get_text_bounded(left, bottom, right, top)
        if said.strip():
            size = _size(text, left, bottom, right, top)
            pieces.append(Piece(left, bottom, right, top, said.replace("\r\n", " "), size))
    return lines(pieces)


def _size(text: Any, left: float, bottom: float, right: float, top: float) -> float:
    """Return the size of the letters in a box, in points, as the page draws them."""
    place = text.get_index((left + right) / 2, (bottom + top) / 2, right - left, top - bottom)
    drawn = None if place is None else text.get_textobj(place)
    if drawn is None:
        return round(top - bottom, 1)
    # The font's own size says nothing where a page is drawn in another scale.
    scale = drawn.get_matrix()
    return round(float(drawn.get_font_size() * math.hypot(scale.c, scale.d)), 1)


def _outline(pdf: Any, pages: int) -> list[dict[str, int]]:
    """Return, for each page, the titles of bookmarks that lead to it, with their levels."""
    found: list[dict[str, int]] = [{} for _ in range(pages)]
    for mark in pdf.get_toc(max_depth=_DEEPEST_OUTLINE):
        target = mark.get_dest()
        number = None if target is None else target.get_index()
        if number is not None and 0 <= number < pages:
            found[number][" ".join(mark.get_title().lower().split())] = mark.level
    return found


def _title(pdf: Any) -> str:
    title = clean_title(pdf.get_metadata_value("Title"))
    return "" if _NO_TITLE.fullmatch(title) else title


def _metadata(pdf: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    author = clean_title(pdf.get_metadata_value("Author"))
    if author and not _NO_TITLE.fullmatch(author):
        found["author"] = author
    made = _DATE.match(pdf.get_metadata_value("CreationDate"))
    if made:
        found["created"] = "-".join(made.groups())
    found["pages"] = len(pdf)
    return found


def _has_image(page: Any) -> bool:
    import pypdfium2.raw

    kind = pypdfium2.raw.FPDF_PAGEOBJ_IMAGE
    return any(found.type == kind for found in page.get_objects(max_depth=3))
