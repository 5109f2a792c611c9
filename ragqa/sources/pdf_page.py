"""A page of a PDF as a picture, with the lines of a passage marked: `python -m ragqa.sources.pdf_page`.

It is drawn in a process of its own, which a damaged file may crash, and which ends with the picture.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ragqa.errors import RagqaError

# Pixels for each point of a page, at most so many a side, and how long drawing may take.
SCALE = 1.6
MOST_PIXELS = 3_000
PATIENCE_S = 20.0
# A line of no fewer letters is marked when they stand in the passage one after the other.
SHORTEST = 10
_MARK = (255, 205, 60, 90)


def can_draw() -> bool:
    """Tell whether what draws is installed."""
    return find_spec("pypdfium2") is not None and find_spec("PIL") is not None


def draw(path: Path, label: str, passage: str) -> bytes:
    """Return the page with this label as a PNG, the lines of the passage marked; raises RagqaError."""
    asked = json.dumps({"path": str(path), "label": label, "passage": passage}).encode()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ragqa.sources.pdf_page"],
            input=asked,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RagqaError("The page takes too long to draw.") from error
    if done.returncode or not done.stdout.startswith(b"\x89PNG"):
        raise RagqaError("The page cannot be drawn: its file is damaged, encrypted or another one by now.")
    return done.stdout


def _draw(path: str, label: str, passage: str) -> bytes:
    import pypdfium2
    from PIL import Image, ImageDraw

    with pypdfium2.PdfDocument(path) as pdf:
        labels = [pdf.get_page_label(number) or str(number + 1) for number in range(len(pdf))]
        page = pdf[labels.index(label)]
        width, height = page.get_size()
        scale = min(SCALE, MOST_PIXELS / max(width, height, 1))
        picture = page.render(scale=scale).to_pil().convert("RGBA")
        marks = Image.new("RGBA", picture.size)
        for left, bottom, right, top in _boxes(page, passage):
            box = [
                left * scale - 2,
                (height - top) * scale - 2,
                right * scale + 2,
                (height - bottom) * scale + 2,
            ]
            ImageDraw.Draw(marks).rectangle(box, fill=_MARK)
    out = io.BytesIO()
    Image.alpha_composite(picture, marks).convert("RGB").save(out, "PNG")
    return out.getvalue()


def _boxes(page: Any, passage: str) -> list[tuple[float, float, float, float]]:
    """Return the boxes on the page whose text is a part of the passage."""
    text, wanted = page.get_textpage(), _letters(passage)
    boxes = [text.get_rect(number) for number in range(text.count_rects())]
    return [
        box
        for box in boxes
        if len(said := _letters(text.get_text_bounded(*box))) >= SHORTEST and said in wanted
    ]


def _letters(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def main() -> None:
    """Write the picture of what stdin asks for to stdout."""
    asked = json.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(_draw(asked["path"], asked["label"], asked["passage"]))


if __name__ == "__main__":
    main()
