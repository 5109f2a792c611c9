"""Reading PDF against what one would otherwise call, where that is installed: pypdf, markitdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ragqa.sources import pdf
from ragqa.sources.loader import File
from tests.workshop.bench.material import Material
from tests.workshop.bench.measure import Row, paired

PAGES, LINES, PAIRS = 60, 40, 5
SENTENCE = "The harbour has three piers and a lighthouse that was built of granite."


def read(material: Material) -> Iterator[Row]:
    """A PDF of full pages, read whole by both sides."""
    path = material.folder / "pages.pdf"
    if not path.exists():
        _write(path)
    file = File(path, path.name, str(path))
    for name, theirs in _peers(path):
        times = paired(lambda number: list(pdf.read(file)), partial(_ignoring, theirs), PAIRS)
        yield Row(
            f"read a PDF of {PAGES} full pages",
            PAGES / times.ours_s,
            "/s",
            name,
            PAGES / times.theirs_s,
            times.ratio,
            note="pages, with headings, paragraphs and places",
        )


def _ignoring(action: Callable[[], object], number: int) -> object:
    return action()


def _peers(path: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    if find_spec("pypdf"):
        from pypdf import PdfReader

        yield "pypdf's extract_text", lambda: [page.extract_text() for page in PdfReader(path).pages]
    if find_spec("markitdown"):
        from markitdown import MarkItDown

        converter: Any = MarkItDown()
        yield "markitdown", lambda: converter.convert(str(path))


def _write(path: Path) -> None:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path))
    for page in range(PAGES):
        for line in range(LINES):
            canvas.drawString(60, 780 - 18 * line, f"{page}.{line} {SENTENCE}")
        canvas.showPage()
    canvas.save()
