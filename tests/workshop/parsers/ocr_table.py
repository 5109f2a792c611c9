"""The table about OCR: a picture of a line of text, and a page that is drawn with known words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.workshop.parsers import pdfs
from tests.workshop.parsers.measure import licence, megabytes, need, seconds, version, words_found

DPI = 150
LINE = "Lighthouse 4711"


def ocr_table(folder: Path, scratch: Path) -> Iterator[str]:
    """Yield the lines of the table; reading a page takes seconds."""
    if not version("rapidocr") or not version("pypdfium2"):
        return
    known = next(one for one in pdfs.generate(scratch) if one.name == "headings")
    engine = need("rapidocr").RapidOCR(params={"Global.log_level": "critical"})
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    with need("pypdfium2").PdfDocument(known.path) as document:
        page = document[0].render(scale=DPI / 72).to_numpy()
    picture = need("numpy").asarray(pdfs.text_image(LINE))
    yield "| OCR | version | read | words found | s | MB | licence |"
    yield "| --- | --- | --- | ---: | ---: | ---: | --- |"
    cost = f"{megabytes(['rapidocr']):.1f} | {licence('rapidocr')}"
    for name, image, words in (("a line", picture, (LINE,)), ("a page", page, known.sentences)):
        found = words_found(words, _text(engine, image))
        took = seconds(partial(_text, engine, image), 2)
        yield f"| rapidocr | {version('rapidocr')} | {name} | {found:.0%} | {took:.1f} | {cost} |"
    yield ""


def _text(engine: Any, image: Any) -> str:
    # Nothing found is None, no empty list.
    return "\n".join(engine(image).txts or ())
