"""PDFs whose content is known: each is drawn here, so that what a library finds can be counted."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.workshop.parsers.measure import need

PASSWORD = "sesame"
TITLE = "Harbour notes"
LABELS = ("i", "ii", "1", "2")
HEADINGS = ("Mooring lines", "Tides and wind", "Night watch")
TABLE = (
    ("Berth", "Ship name", "Draught"),
    ("North 1", "Blue Heron", "4.20 m"),
    ("North 2", "Ada", "11.75 m"),
    ("South 7", "Old Bess of Hull", "6.05 m"),
)
GERMAN = ("Größere Schlüssel öffnen süße Türen.", "Der Straßenbahnfahrer übte Höflichkeit.")
CHINESE = ("港口的灯塔每晚都亮着。", "船长在清晨写下日志。")
WIDTH, HEIGHT = 595, 842
BODY, HEAD = 10, 16
LINE = 14
MARGIN = 56
SYLLABLES = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "zo")


@dataclass(frozen=True, slots=True)
class Known:
    """A generated PDF and what it says: sentences in the order a person reads them."""

    name: str
    path: Path
    sentences: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def generate(folder: Path) -> list[Known]:
    """Draw every PDF into the folder."""
    plain = _sentences(60, seed=1)
    columns = _sentences(44, seed=2)
    drawings: list[tuple[Known, Callable[[Any], None]]] = [
        (Known("one column", folder / "single.pdf", plain), _single(plain)),
        (Known("two columns", folder / "columns.pdf", columns), _columns(columns, by_row=False)),
        (Known("two columns, drawn by row", folder / "by_row.pdf", columns), _columns(columns, by_row=True)),
        (_headed(folder), _headings),
        (Known("table, ruled", folder / "ruled.pdf", rows=TABLE), _table(ruled=True)),
        (Known("table, no rules", folder / "bare.pdf", rows=TABLE), _table(ruled=False)),
        (Known("German", folder / "german.pdf", GERMAN), _single(GERMAN)),
        (Known("Chinese", folder / "chinese.pdf", CHINESE), _single(CHINESE, font="STSong-Light")),
        (Known("image only", folder / "image.pdf", ("Lighthouse 4711",)), _image),
    ]
    for known, draw in drawings:
        known.path.write_bytes(drawn(draw))
    return [known for known, _ in drawings]


def labelled(path: Path) -> Path:
    """Write four pages that call themselves i, ii, 1, 2."""
    pypdf = need("pypdf")
    style = need("pypdf.constants").PageLabelStyle
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(drawn(_four_pages)))
    writer.set_page_label(0, 1, style=style.LOWERCASE_ROMAN)
    writer.set_page_label(2, 3, style=style.DECIMAL, start=1)
    writer.write(path)
    return path


def encrypted(path: Path, source: Path) -> Path:
    """Write the source so that only a password opens it, with AES of 256 bits."""
    pikepdf = need("pikepdf")
    with pikepdf.open(source) as pdf:
        pdf.save(path, encryption=pikepdf.Encryption(user=PASSWORD, owner="owner", R=6))
    return path


def truncated(path: Path, source: Path) -> Path:
    """Write the first two thirds of the source: the table of its objects is gone."""
    data = source.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return path


def drawn(draw: Callable[[Any], None]) -> bytes:
    """Return the bytes of a PDF that `draw` makes on a canvas."""
    font = need("reportlab.pdfbase.cidfonts").UnicodeCIDFont("STSong-Light")
    need("reportlab.pdfbase.pdfmetrics").registerFont(font)
    buffer = io.BytesIO()
    canvas = need("reportlab.pdfgen.canvas").Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    canvas.setTitle(TITLE)
    draw(canvas)
    canvas.save()
    return buffer.getvalue()


def _sentences(count: int, seed: int) -> tuple[str, ...]:
    # Invented words, none twice: whatever order they come back in, each says where it stood.
    chance = random.Random(seed)
    seen: set[str] = set()
    made = []
    for _ in range(count):
        words: list[str] = []
        while len(words) < 6:
            word = "".join(chance.choices(SYLLABLES, k=3))
            if word not in seen:
                seen.add(word)
                words.append(word)
        made.append(" ".join(words).capitalize() + ".")
    return tuple(made)


def _single(sentences: Sequence[str], font: str = "Helvetica") -> Callable[[Any], None]:
    def draw(canvas: Any) -> None:
        for start in range(0, len(sentences), 30):
            canvas.setFont(font, BODY)
            for row, sentence in enumerate(sentences[start : start + 30]):
                canvas.drawString(MARGIN, HEIGHT - 72 - row * LINE, sentence)
            canvas.showPage()

    return draw


def _columns(sentences: Sequence[str], by_row: bool) -> Callable[[Any], None]:
    # A typesetter writes one column after the other; a program that prints rows goes across both.
    half = len(sentences) // 2
    places = [(column, row) for column in range(2) for row in range(half)]
    if by_row:
        places.sort(key=lambda place: place[1])

    def draw(canvas: Any) -> None:
        canvas.setFont("Helvetica", BODY)
        for column, row in places:
            x = MARGIN + column * (WIDTH // 2 - MARGIN // 2)
            canvas.drawString(x, HEIGHT - 72 - row * LINE, sentences[column * half + row])

    return draw


def _headed(folder: Path) -> Known:
    sentences, each = _sentences(12, seed=3), 12 // len(HEADINGS)
    read = [
        line
        for number, heading in enumerate(HEADINGS)
        for line in (heading, *sentences[number * each : (number + 1) * each])
    ]
    return Known("headings", folder / "headings.pdf", tuple(read), HEADINGS)


def _headings(canvas: Any) -> None:
    sentences = iter(_sentences(12, seed=3))
    y = HEIGHT - 72
    for key, heading in enumerate(HEADINGS):
        # Half the size, drawn twice as large: many programs write so.
        canvas.saveState()
        canvas.scale(2, 2)
        canvas.setFont("Helvetica-Bold", HEAD / 2)
        canvas.drawString(MARGIN / 2, y / 2, heading)
        canvas.restoreState()
        canvas.bookmarkPage(str(key))
        canvas.addOutlineEntry(heading, str(key), level=0)
        canvas.setFont("Helvetica", BODY)
        for row in range(1, 5):
            canvas.drawString(MARGIN, y - 6 - row * LINE, next(sentences))
        y -= 6 * LINE + 20


def _table(ruled: bool) -> Callable[[Any], None]:
    def draw(canvas: Any) -> None:
        canvas.setFont("Helvetica", BODY)
        for row, cells in enumerate(TABLE):
            for column, cell in enumerate(cells):
                x, y = MARGIN + column * 140, HEIGHT - 120 - row * 20
                canvas.drawString(x + 4, y + 6, cell)
                if ruled:
                    canvas.rect(x, y, 140, 20)

    return draw


def _four_pages(canvas: Any) -> None:
    for number in range(len(LABELS)):
        canvas.drawString(MARGIN, HEIGHT - 72, f"Leaf {number}")
        canvas.showPage()


def _image(canvas: Any) -> None:
    picture = need("reportlab.lib.utils").ImageReader(text_image("Lighthouse 4711"))
    canvas.drawImage(picture, MARGIN, HEIGHT - 200, 400, 60)


def text_image(text: str) -> Any:
    """Return a picture of a line of text, 800 pixels wide."""
    image = need("PIL.Image").new("RGB", (800, 120), "white")
    font = need("PIL.ImageFont").load_default(60)
    need("PIL.ImageDraw").Draw(image).text((20, 25), text, fill="black", font=font)
    return image
