"""The libraries that read PDF, each behind the same few questions."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragqa.sources.pdf_layout import Piece, lines
from tests.workshop.parsers.measure import need


@dataclass(frozen=True, slots=True)
class PdfReader:
    """A way to read PDF. What a library does not offer is None."""

    name: str
    package: str
    # A text per page; the second argument is the password.
    pages: Callable[[Path, str | None], list[str]]
    headings: Callable[[Path], list[str]] | None = None
    labels: Callable[[Path], list[str]] | None = None
    title: Callable[[Path], str] | None = None

    def text(self, path: Path, password: str | None = None) -> str:
        """Return the text of all pages."""
        return "\n".join(self.pages(path, password))


def pdf_readers() -> list[PdfReader]:
    """Return every way, the one others are compared with first."""
    # They say much about damaged files.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    logging.getLogger("pdfminer").setLevel(logging.CRITICAL)
    pdfium = (_pdfium_headings, _pdfium_labels, _pdfium_title)
    oxide = (_oxide_headings, _oxide_labels, None)
    kreuzberg = (_kreuzberg_headings, None, _kreuzberg_title)
    return [
        PdfReader("pypdfium2", "pypdfium2", _pdfium, *pdfium),
        PdfReader("pypdfium2, columns mended", "pypdfium2", _pdfium_mended, *pdfium),
        PdfReader("pypdf", "pypdf[crypto]", _pypdf, None, _pypdf_labels, _pypdf_title),
        PdfReader("pdfminer.six", "pdfminer.six", _pdfminer, _pdfminer_headings),
        PdfReader("pdf_oxide, text", "pdf_oxide", _oxide, *oxide),
        PdfReader("pdf_oxide, Markdown", "pdf_oxide", _oxide_markdown, *oxide),
        PdfReader("markitdown", "markitdown[pdf]", _markitdown),
        PdfReader("kreuzberg, text", "kreuzberg", _kreuzberg, *kreuzberg),
        PdfReader("kreuzberg, Markdown", "kreuzberg", _kreuzberg_markdown, *kreuzberg),
    ]


def _pdfium(path: Path, password: str | None) -> list[str]:
    with need("pypdfium2").PdfDocument(path, password=password) as document:
        return [page.get_textpage().get_text_bounded() for page in document]


def _pdfium_mended(path: Path, password: str | None) -> list[str]:
    pages = []
    with need("pypdfium2").PdfDocument(path, password=password) as document:
        for page in document:
            text = page.get_textpage()
            boxes: list[tuple[float, float, float, float]] = [
                text.get_rect(number) for number in range(text.count_rects())
            ]
            pieces = [Piece(*box, text.get_text_bounded(*box)) for box in boxes]
            pages.append("\n".join(line.text.replace(" | ", " ") for line in lines(pieces)))
    return pages


def _pdfium_headings(path: Path) -> list[str]:
    found: list[tuple[float, str]] = []
    with need("pypdfium2").PdfDocument(path) as document:
        for page in document:
            text = page.get_textpage()
            for number in range(text.count_rects()):
                left, bottom, right, top = box = text.get_rect(number)
                place = text.get_index((left + right) / 2, (bottom + top) / 2, right - left, top - bottom)
                piece = None if place is None else text.get_textobj(place)
                if piece is not None:
                    # The font's own size says nothing where a page draws it in another scale.
                    scale = piece.get_matrix()
                    size = piece.get_font_size() * math.hypot(scale.c, scale.d)
                    found.append((size, text.get_text_bounded(*box)))
    return _larger(found)


def _pdfium_labels(path: Path) -> list[str]:
    with need("pypdfium2").PdfDocument(path) as document:
        return [document.get_page_label(number) for number in range(len(document))]


def _pdfium_title(path: Path) -> str:
    with need("pypdfium2").PdfDocument(path) as document:
        return str(document.get_metadata_value("Title"))


def _pypdf(path: Path, password: str | None) -> list[str]:
    return [page.extract_text() for page in need("pypdf").PdfReader(path, password=password).pages]


def _pypdf_labels(path: Path) -> list[str]:
    return list(need("pypdf").PdfReader(path).page_labels)


def _pypdf_title(path: Path) -> str:
    return str(need("pypdf").PdfReader(path).metadata.title)


def _pdfminer(path: Path, password: str | None) -> list[str]:
    text: str = need("pdfminer.high_level").extract_text(path, password=password or "")
    return text.split("\f")


def _pdfminer_headings(path: Path) -> list[str]:
    layout = need("pdfminer.layout")
    lines = (
        line
        for page in need("pdfminer.high_level").extract_pages(path)
        for box in page
        if isinstance(box, layout.LTTextContainer)
        for line in box
    )
    return _larger([(line.height, line.get_text().strip()) for line in lines])


def _oxide_open(path: Path, password: str | None) -> Any:
    # Without a password of its own an encrypted file opens, and each of its pages is empty.
    options = {"password": password} if password else {}
    return need("pdf_oxide").PdfDocument(str(path), **options)


def _oxide(path: Path, password: str | None) -> list[str]:
    document = _oxide_open(path, password)
    return [document.extract_text(number) for number in range(document.page_count())]


def _oxide_markdown(path: Path, password: str | None) -> list[str]:
    document = _oxide_open(path, password)
    return [document.to_markdown(number) for number in range(document.page_count())]


def _oxide_headings(path: Path) -> list[str]:
    return _marked("\n".join(_oxide_markdown(path, None)))


def _oxide_labels(path: Path) -> list[str]:
    # It tells where each way of counting begins; counting is left to who asks.
    parts = _oxide_open(path, None).page_labels()
    return [f"{part['start_page']}: {part['style']}" for part in parts]


def _markitdown(path: Path, password: str | None) -> list[str]:
    return [str(need("markitdown").MarkItDown().convert(str(path)).markdown)]


def _kreuzberg_read(path: Path, password: str | None, form: str) -> Any:
    library = need("kreuzberg")
    options = library.PdfConfig(passwords=[password]) if password else None
    config = library.ExtractionConfig(output_format=form, pdf_options=options)
    return library.extract_file_sync(str(path), config=config)


def _kreuzberg(path: Path, password: str | None) -> list[str]:
    return [str(_kreuzberg_read(path, password, "plain").content)]


def _kreuzberg_markdown(path: Path, password: str | None) -> list[str]:
    return [str(_kreuzberg_read(path, password, "markdown").content)]


def _kreuzberg_headings(path: Path) -> list[str]:
    return _marked(_kreuzberg_markdown(path, None)[0])


def _kreuzberg_title(path: Path) -> str:
    return str(_kreuzberg_read(path, None, "plain").metadata["title"])


def _marked(markdown: str) -> list[str]:
    return [line.lstrip("# ") for line in markdown.splitlines() if line.startswith("#")]


def _larger(lines: Iterable[tuple[float, str]]) -> list[str]:
    # Larger than most text, by the letter.
    known = list(lines)
    heights = sorted(height for height, text in known for _ in text)
    usual = heights[len(heights) // 2] if heights else 0.0
    return [text.strip() for height, text in known if height > 1.15 * usual]
