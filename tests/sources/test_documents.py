"""PDF, Office, OpenDocument and Outlook files: what is kept, on which page, slide or sheet."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragqa.config import ChunkSettings
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import ingest
from ragqa.sources import Fields, Skipped, open_sources
from ragqa.types import Document
from tests.conftest import SHARED, Run
from tests.sources.test_kinds import book as book_of_tides
from tests.sources.test_kinds import message, pieces, place_of

pytestmark = pytest.mark.needs("docs")

WORDS = "The harbour has three piers and a lighthouse that was built of granite. "
Draw = Callable[[Any], None]


def load(path: Path, password: str = "") -> dict[str, Document | Skipped]:
    found = {}
    for source in open_sources([str(path)], Fields(), password=password):
        for item in source.items:
            found[item.id if isinstance(item, Document) else f"{item.name}: {item.reason}"] = item
    return found


def one(path: Path, password: str = "") -> Document:
    (found,) = load(path, password).values()
    assert isinstance(found, Document), found
    return found


def pdf(path: Path, *pages: Draw, title: str = "", encrypt: str | None = None) -> Path:
    """Write a PDF, each page drawn by a function that is given reportlab's canvas."""
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), encrypt=encrypt)
    canvas.setTitle(title)
    for draw in pages:
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return path


def lines(*texts: str, x: float = 72, y: float = 740, size: float = 11) -> Draw:
    def draw(canvas: Any) -> None:
        canvas.setFont("Helvetica", size)
        for number, text in enumerate(texts):
            canvas.drawString(x, y - 14 * number, text)

    return draw


def test_a_pdf_is_read_by_pages_with_its_title(tmp_path: Path) -> None:
    path = pdf(
        tmp_path / "lease.pdf",
        lines("The lease begins in May.", "It is for two rooms."),
        lines("The rent is 900 euros.", "It is due on the first."),
        title="Lease",
    )
    document = one(path)
    assert (document.title, document.metadata["pages"]) == ("Lease", 2)
    assert place_of(document, "begins in May. It is for two rooms") == "p. 1"
    assert place_of(document, "900 euros") == "p. 2"


def test_pages_have_the_labels_that_the_pdf_gives_them(tmp_path: Path) -> None:
    def label(canvas: Any) -> None:
        canvas.addPageLabel(0, "ROMAN_LOWER")
        canvas.addPageLabel(2, "ARABIC")

    def first(canvas: Any) -> None:
        label(canvas)
        lines("A word before the text.")(canvas)

    path = pdf(tmp_path / "a.pdf", first, lines("Still before it."), lines("Here the text begins."))
    assert [str(piece.place) for piece in pieces(one(path))] == ["p. i", "p. ii", "p. 1"]


def test_larger_lines_are_headings_and_lines_make_paragraphs(tmp_path: Path) -> None:
    def draw(canvas: Any) -> None:
        lines("Harbours of the north", size=20, y=760)(canvas)
        lines("Storage", size=15, y=720)(canvas)
        lines("Ropes are kept dry, and are looked", "through each spring by the harbour-", "master.", y=700)(
            canvas
        )
        lines("A paragraph of its own.", y=630)(canvas)

    document = one(pdf(tmp_path / "a.pdf", draw))
    assert document.title == "Harbours of the north"
    assert document.text.split("\n\n") == [
        "# Harbours of the north",
        "## Storage",
        "Ropes are kept dry, and are looked through each spring by the harbourmaster.",
        "A paragraph of its own.",
    ]


@pytest.mark.parametrize("order", ["by column", "by row"])
def test_two_columns_are_read_one_after_the_other(tmp_path: Path, order: str) -> None:
    left = [f"Left {number} has words that fill its column well." for number in range(20)]
    right = [f"Right {number} has words that fill its column well." for number in range(20)]

    def draw(canvas: Any) -> None:
        canvas.setFont("Helvetica", 10)
        places = [(40, 700 - 14 * n, text) for n, text in enumerate(left)]
        places += [(310, 700 - 14 * n, text) for n, text in enumerate(right)]
        for x, y, text in sorted(places, key=lambda one: -one[1]) if order == "by row" else places:
            canvas.drawString(x, y, text)

    text = " ".join(one(pdf(tmp_path / "a.pdf", draw)).text.split())
    found = [text.index(said) for said in [*left, *right]]
    assert found == sorted(found)


def test_rows_of_a_table_stay_rows(tmp_path: Path) -> None:
    rows = [("Pier", "Ships", "Depth"), ("North", "12", "4.5 m"), ("South", "7", "6 m")]

    def draw(canvas: Any) -> None:
        canvas.setFont("Helvetica", 11)
        for number, row in enumerate(rows):
            for place, cell in enumerate(row):
                canvas.drawString(72 + 120 * place, 700 - 20 * number, cell)

    assert (
        "Pier | Ships | Depth\nNorth | 12 | 4.5 m\nSouth | 7 | 6 m" in one(pdf(tmp_path / "a.pdf", draw)).text
    )


def test_what_runs_along_every_page_is_no_text(tmp_path: Path) -> None:
    def page(number: int) -> Draw:
        def draw(canvas: Any) -> None:
            lines("The Harbour Gazette", y=800)(canvas)
            lines(f"Story {number} is about ships. {WORDS}", y=700)(canvas)
            lines(f"Page {number} of 6", y=30)(canvas)

        return draw

    text = one(pdf(tmp_path / "a.pdf", *(page(number) for number in range(1, 7)))).text
    assert "Gazette" not in text
    assert "of 6" not in text
    assert all(f"Story {number} is" in text for number in range(1, 7))


def test_an_encrypted_pdf_wants_its_password(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", lines("A secret harbour."), encrypt="sesame")
    assert list(load(path)) == ["a.pdf: encrypted (--password opens it)"]
    assert list(load(path, "wrong")) == ["a.pdf: encrypted (the password does not open it)"]
    assert "A secret harbour." in one(path, "sesame").text


def test_a_page_without_text_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    Image.new("RGB", (60, 60), "red").save(tmp_path / "red.png")

    def scan(canvas: Any) -> None:
        canvas.drawImage(str(tmp_path / "red.png"), 100, 100, 300, 300)

    pdf(tmp_path / "pdfs.pdf", lines("One page has words."), scan, scan)
    (tmp_path / "red.png").unlink()
    monkeypatch.setenv("RAGQA_NO_OCR", "1")
    from ragqa.sources import apart
    from ragqa.sources import pdf as reader
    from ragqa.sources.loader import File

    monkeypatch.setattr("ragqa.sources.ocr.is_there", lambda: False)
    document, skipped = reader.read(File(tmp_path / "pdfs.pdf", "pdfs.pdf", "pdfs.pdf"))
    apart.stop()
    assert isinstance(document, Document)
    assert [part.label for part in document.parts.parts] == ["1"] if document.parts else False
    assert skipped == Skipped(
        "pdfs.pdf", "2 pages hold no text (scanned?): pip install 'ragqa[ocr]'", unread=True
    )


def test_how_far_a_long_pdf_is_read_is_told_through_the_process_that_reads_it(tmp_path: Path) -> None:
    path = pdf(tmp_path / "long.pdf", *(lines(f"Page {number} has words.") for number in range(120)))
    with Corpus.open(tmp_path / "c.db", create=True) as corpus:
        said: list[str] = []
        report = ingest(
            corpus,
            open_sources([str(path)], Fields()),
            ChunkSettings(),
            on_document=lambda report: said.append(report.under_way),
        )
    assert said == ["long.pdf, page 50 of 120", "long.pdf, page 100 of 120", ""]
    assert (report.added, report.seen) == (1, 1)


@pytest.mark.parametrize("cut", [0.3, 0.7])
def test_a_damaged_pdf_costs_only_itself(tmp_path: Path, cut: float) -> None:
    whole = pdf(tmp_path / "a.pdf", lines("Words."), lines("More words.")).read_bytes()
    (tmp_path / "a.pdf").write_bytes(whole[: int(len(whole) * cut)])
    (tmp_path / "b.md").write_text("# Fine\n\nWords.")
    found = load(tmp_path)
    assert isinstance(found.pop("b.md"), Document)
    assert list(found) == ["a.pdf: damaged (no PDF)"]


CONTENT = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
REL = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def relations(*targets: tuple[str, str]) -> str:
    listed = "".join(
        f'<Relationship Id="r{number}" Type="{REL}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, 1)
    )
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{package}">{listed}</Relationships>'


def paragraph(text: str, style: str = "") -> str:
    kind = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{kind}<w:r><w:t>{text}</w:t></w:r></w:p>"


def docx(path: Path) -> Path:
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{name.replace(" ", "")}"><w:name w:val="{name}"/></w:style>'
        for name in ("Title", "heading 1", "heading 2")
    )
    cells = "".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in ("Pier", "Depth"))
    row = "".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in ("North", "4.5 m"))
    note = '<w:p><w:r><w:t>Ropes are dry.</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r></w:p>'
    body = (
        paragraph("Harbours", "Title") + paragraph("Storage", "heading1") + note
        + f"<w:tbl><w:tr>{cells}</w:tr><w:tr>{row}</w:tr></w:tbl>"
        + '<w:p><w:commentRangeStart w:id="0"/><w:r><w:t>Granite.</w:t></w:r><w:commentRangeEnd w:id="0"/>'
        + '<w:r><w:commentReference w:id="0"/></w:r></w:p>'
    )  # fmt: skip
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("[Content_Types].xml", CONTENT)
        made.writestr("_rels/.rels", relations(("officeDocument", "word/document.xml")))
        made.writestr(
            "word/_rels/document.xml.rels",
            relations(("styles", "styles.xml"), ("footnotes", "footnotes.xml"), ("comments", "comments.xml")),
        )
        made.writestr("word/document.xml", f'<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>')
        made.writestr("word/styles.xml", f'<w:styles xmlns:w="{W}">{styles}</w:styles>')
        foot = f'<w:footnote w:id="2">{paragraph("Since 1810.")}</w:footnote>'
        made.writestr("word/footnotes.xml", f'<w:footnotes xmlns:w="{W}">{foot}</w:footnotes>')
        said = f'<w:comment w:id="0" w:author="Ada" w:initials="A">{paragraph("Or slate?")}</w:comment>'
        made.writestr("word/comments.xml", f'<w:comments xmlns:w="{W}">{said}</w:comments>')
    return path


def test_a_word_document_keeps_headings_tables_footnotes_and_comments(tmp_path: Path) -> None:
    document = one(docx(tmp_path / "a.docx"))
    assert document.title == "Harbours"
    for said in ("# Storage", "Ropes are dry.", "| North | 4.5 m |", "Since 1810."):
        assert said in document.text
    text, _, comments = document.text.partition("## Comments")
    assert "Or slate?" not in text
    assert "Or slate?" in comments


def test_slides_have_titles_tables_and_notes(tmp_path: Path) -> None:
    from pptx import Presentation
    from pptx.util import Inches

    made = Presentation()
    first = made.slides.add_slide(made.slide_layouts[1])
    first.shapes.title.text = "Harbours"
    first.placeholders[1].text_frame.text = "Three piers"
    first.notes_slide.notes_text_frame.text = "Mention the granite."
    second = made.slides.add_slide(made.slide_layouts[5])
    second.shapes.title.text = "Depths"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for place, cell in enumerate(("Pier", "Depth", "North", "4.5 m")):
        table.cell(place // 2, place % 2).text = cell
    made.save(str(tmp_path / "a.pptx"))
    document = one(tmp_path / "a.pptx")
    assert document.title == "Harbours"
    found = {str(piece.place): piece for piece in pieces(document)}
    assert "Notes: Mention the granite." in found["slide 1"].text
    assert found["slide 2"].headings[:1] == ("Depths",)
    assert "Pier: North; Depth: 4.5 m" in found["slide 2"].text


def test_a_workbook_is_read_by_sheets_and_rows(tmp_path: Path) -> None:
    from xlsxwriter import Workbook

    with Workbook(str(tmp_path / "a.xlsx")) as book:
        for name, rows in {
            "Costs": [["item", "euros"], ["rope", 12.5]],
            "Ships": [["name"], ["Ada"]],
        }.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number + 2, 1, row)
    document = one(tmp_path / "a.xlsx")
    assert place_of(document, "item: rope; euros: 12.5") == "sheet Costs, row 4"
    assert place_of(document, "name: Ada") == "sheet Ships, row 4"


def test_open_documents_are_read(tmp_path: Path) -> None:
    from odfdo import Document as OpenDocument
    from odfdo import Frame, Header, Paragraph
    from odfdo.draw_page import DrawPage

    text = OpenDocument("text")
    text.body.clear()
    text.body.append(Header(1, "Storage"))
    text.body.append(Paragraph("Ropes are kept dry."))
    text.save(str(tmp_path / "a.odt"))
    document = one(tmp_path / "a.odt")
    assert document.title == "Storage"
    assert "Ropes are kept dry." in document.text
    slides = OpenDocument("presentation")
    slides.body.clear()
    for number, said in enumerate(("Three piers", "Depths")):
        page = DrawPage(f"page{number}", name=f"page{number}")
        page.append(Frame.text_frame(said, size=("10cm", "4cm"), position=("1cm", "1cm")))
        slides.body.append(page)
    slides.save(str(tmp_path / "b.odp"))
    assert place_of(one(tmp_path / "b.odp"), "Depths") == "slide 2"


def test_rtf_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.rtf").write_text(r"{\rtf1\ansi\b Storage\b0\par Ropes are kept dry, na\'efve.\par}")
    assert "Ropes are kept dry, naïve." in one(tmp_path / "a.rtf").text
    (tmp_path / "a.rtf").write_text("no RTF")
    assert list(load(tmp_path)) == ["a.rtf: not RTF"]


@pytest.mark.parametrize("name", ["a.docx", "a.pptx", "a.xlsx", "a.odt", "a.odp", "a.msg", "a.xls", "a.ods"])
def test_what_is_damaged_or_encrypted_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 and no more")
    (damaged,) = load(tmp_path)
    assert "damaged" in damaged
    if name in ("a.docx", "a.pptx", "a.xlsx"):
        (tmp_path / name).write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
        (encrypted,) = load(tmp_path)
        assert "encrypted" in encrypted


def test_every_kind_of_real_file_is_read_or_named() -> None:
    folder = SHARED / "documents"
    if not folder.is_dir():
        pytest.skip("shared/data/documents is not there")
    found = load(folder)
    names = {path.name for path in folder.iterdir()}
    read = {name for name, item in found.items() if isinstance(item, Document)}
    assert names - read == {"random.bin"}
    assert "random.bin: no text" in found
    for name, said in {
        "test.pdf": "Large language models",
        "test.docx": "AutoGen is an open-source framework",
        "test_outlook_msg.msg": "This is the body of the test email message",
        "test_mskanji.csv": "名前: 三木英子; 年齢: 25; 住所: 大阪",
        "test.xls": "Alpha: 89; Beta: 82",
    }.items():
        document = found[name]
        assert isinstance(document, Document)
        assert said in document.text


# By file: a question, what answers it, and where that stands.
FACTS = {
    "lease.pdf": (
        "When does the lease of the mill end?",
        "The lease of the mill ends in October.",
        ", p. 2)",
    ),
    "notes.md": ("Who repairs the weir?", "Old Tamsin repairs the weir.", "notes.md:5)"),
    "costs.csv": ("What does the sluice cost in euros?", "part: sluice; euros: 450", "costs.csv, row 3)"),
    "talk.pptx": (
        "How many ships moor at the granite pier?",
        "Seven ships moor there.",
        "talk.pptx, slide 2)",
    ),
    "crew.xlsx": (
        "Who is the captain of the Heron?",
        "ship: Heron; captain: Ada",
        "crew.xlsx, sheet Crew, row 3)",
    ),
    "tides.ipynb": (
        "How high is the spring tide?",
        "The spring tide is 4.2 metres high.",
        "tides.ipynb, cell 2)",
    ),
    "a.epub": ("What does the water do at flood?", "The water rises.", "a.epub, chapter 1)"),
    "moor.py": ("How does Rope.splice join two ropes?", "Join two ropes", "moor.py:5)"),
    "keys.eml": ("Where are the keys of the boathouse?", "The keys hang behind the clock.", "keys.eml)"),
}


def write_facts(folder: Path) -> None:
    """Write a file of each kind, each with the fact of FACTS in it and something else before."""
    from pptx import Presentation
    from xlsxwriter import Workbook

    folder.mkdir()
    pdf(folder / "lease.pdf", lines("About the mill.", WORDS), lines(FACTS["lease.pdf"][1]))
    (folder / "notes.md").write_text(f"# Weir\n\nIt is of oak.\n\n{FACTS['notes.md'][1]}\n")
    (folder / "costs.csv").write_text("part,euros\ngate,120\nsluice,450\n")
    made = Presentation()
    for title, text in (("Harbours", "An overview."), ("The granite pier", FACTS["talk.pptx"][1])):
        slide = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text_frame.text = title, text
    made.save(str(folder / "talk.pptx"))
    with Workbook(str(folder / "crew.xlsx")) as book:
        sheet = book.add_worksheet("Crew")
        for number, row in enumerate((["ship", "captain"], ["Gull", "Eve"], ["Heron", "Ada"])):
            sheet.write_row(number, 0, row)
    cells = [{"cell_type": "markdown", "source": said} for said in ("# Tides", FACTS["tides.ipynb"][1])]
    (folder / "tides.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}}))
    book_of_tides(folder / "a.epub")
    method = '    def splice(self, other):\n        """Join two ropes end to end."""\n'
    (folder / "moor.py").write_text(f"LENGTH = 3\n\n\nclass Rope:\n{method}")
    (folder / "keys.eml").write_bytes(message("Boathouse", FACTS["keys.eml"][1]).as_bytes())


def test_an_answer_names_the_page_the_slide_the_row_and_the_line(ragqa: Run, tmp_path: Path) -> None:
    write_facts(tmp_path / "papers")
    done = ragqa("ingest", tmp_path / "papers", "--db", tmp_path / "c.db")
    assert done.stdout.startswith(f"{len(FACTS)} added"), done.stdout + done.stderr
    for question, said, place in FACTS.values():
        done = ragqa("ask", question, "--db", tmp_path / "c.db", "-m", "extractive", "-n")
        assert said in done.stdout
        assert place in done.stdout, done.stdout
    answer = json.loads(ragqa("ask", FACTS["lease.pdf"][0], "--db", tmp_path / "c.db", "-n", "--json").stdout)
    place = {"kind": "page", "label": "2", "first": 0, "last": 0}
    assert answer["citations"][0]["place"] == place
    assert answer["citations"][0]["location"] == "lease.pdf, p. 2"


@pytest.mark.slow
def test_the_right_page_is_cited_of_two_hundred_pdfs(tmp_path: Path) -> None:
    """A thousand facts, each on one page of 200 PDFs of five pages; a quarter of the PDFs is asked."""
    from ragqa.operations.corpus import build_index, ingest_sources
    from ragqa.pipeline import Pipeline

    names = [
        f"{first}{last}"
        for first in ("Al", "Bor", "Cy", "Dun", "El")
        for last in ("wick", "ham", "by", "ton")
    ]
    folder = tmp_path / "pdfs"
    folder.mkdir()
    facts: dict[str, tuple[str, str]] = {}
    for number in range(200):
        town = f"{names[number % 20]} {number}"
        things = ("mill", "bridge", "school", "chapel", "harbour")
        years = {thing: str(1500 + (number * 7 + place * 53) % 400) for place, thing in enumerate(things)}
        draws = [
            lines(
                f"{town}, page {page}.", WORDS, f"The {thing} of {town} was built in {years[thing]}.", WORDS
            )
            for page, thing in enumerate(things, 1)
        ]
        pdf(folder / f"{number:03}.pdf", *draws, title=f"History of {town}")
        thing = things[number % 5]
        facts[f"When was the {thing} of {town} built?"] = (f"{number:03}.pdf", str(number % 5 + 1))
    ingest_sources(tmp_path / "c.db", "default", open_sources([str(folder)], Fields()))
    right = 0
    asked = list(facts.items())[::4]
    with Pipeline.from_config("default", tmp_path / "c.db") as pipeline:
        build_index(pipeline)
        for question, (name, page) in asked:
            (citation, *_) = pipeline.ask(question, model="extractive", log=False).citations
            place = citation.passage.place
            right += (citation.passage.document_id, place and place.label) == (name, page)
    assert right / len(asked) >= 0.98


def test_judgements_may_name_pages(ragqa: Run, tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    pdf(folder / "lease.pdf", lines("The mill has a wheel of oak."), lines("The lease ends in October."))
    pdf(folder / "other.pdf", lines("Nothing of interest."))
    asked = [
        {"id": "a", "question": "When does the lease end?", "relevant": ["lease.pdf#page=2"]},
        {"id": "b", "question": "What is the wheel made of?", "relevant": ["lease.pdf#page=2"]},
        {"id": "c", "question": "What is the wheel made of?", "relevant": ["lease.pdf"]},
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, asked)))
    paths = ("--db", tmp_path / "c.db", "--runs", tmp_path / "r.db")
    ragqa("ingest", folder, "--db", tmp_path / "c.db")
    done = ragqa("eval", "run", tmp_path / "q.jsonl", *paths, "-c", "default", "--retrieval-only", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(ragqa("eval", "show", "1", "--runs", tmp_path / "r.db", "--json").stdout)
    # The second names the wrong page, which is found third.
    assert shown["runs"][0]["metrics"]["RR@10"]["mean"] == pytest.approx((1 + 1 / 3 + 1) / 3)
    trec = ragqa("eval", "export", "1", "--runs", tmp_path / "r.db", "--trec").stdout
    assert "a Q0 lease.pdf#page=2 1 " in trec
    assert "c Q0 lease.pdf 1 " in trec
