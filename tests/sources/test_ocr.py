"""Text in pictures. The drawing is large and plain: what is tried is our side of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragqa.sources import ocr
from ragqa.sources.loader import File
from ragqa.sources.pdf import read as read_pdf
from ragqa.types import Document

pytestmark = [pytest.mark.needs("ocr"), pytest.mark.slow]
SAID = "The harbour has three piers"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image, ImageDraw, ImageFont

    drawn = Image.new("RGB", (900, 240), "white")
    font = ImageFont.load_default(44)
    for number, text in enumerate((SAID, "and a lighthouse of granite.")):
        ImageDraw.Draw(drawn).text((40, 40 + 80 * number), text, "black", font)
    drawn.save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def test_a_picture_is_read_once(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = File(picture, "scan.png", "scan.png")
    (document,) = ocr.read_image(file)
    assert isinstance(document, Document)
    assert document.text.splitlines() == [SAID, "and a lighthouse of granite."]
    monkeypatch.setattr(ocr, "_read", lambda picture: 1 / 0)
    assert list(ocr.read_image(file)) == [document]


def test_a_scanned_page_is_read_beside_one_with_text(picture: Path, tmp_path: Path) -> None:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "a.pdf"))
    canvas.drawString(72, 700, "A page that has its text.")
    canvas.showPage()
    canvas.drawImage(str(picture), 40, 500, 500, 133)
    canvas.save()
    progress, document = read_pdf(File(tmp_path / "a.pdf", "a.pdf", "a.pdf"))
    assert str(progress) == "a.pdf, page 2 of 2"
    assert isinstance(document, Document)
    assert document.parts is not None
    assert [part.label for part in document.parts.parts] == ["1", "2"]
    assert SAID in document.text
