"""Documents other than PDF whose content is known, and how each thing in them is told in a reader's text."""

from __future__ import annotations

import contextlib
import datetime
import email.message
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.workshop.parsers.measure import need

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
RELATIONS = "application/vnd.openxmlformats-package.relationships+xml"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml"
HEADING = r"(?:#+ *|<h\d[^>]*>(?:<a[^>]*></a>)?)Mooring lines"
ITEM = r"(?:(?:[-*+•] +)|<li>(?:<p>)?)Check the knots"
ROW = r"North 1(?:(?!North 2)[\s\S]){1,40}Blue Heron(?:(?!South)[\s\S])*North 2(?:[\s\S]){1,40}Ada"


@dataclass(frozen=True, slots=True)
class Document:
    """A generated document: what is in it, each with the pattern that finds it in what a reader returns."""

    path: Path
    features: dict[str, str]


def generate(folder: Path) -> list[Document]:
    """Write a document of every kind into the folder."""
    shared = {"heading": HEADING, "list": ITEM, "table rows": ROW}
    features: dict[str, tuple[Callable[[Path], None], dict[str, str]]] = {
        "known.docx": (
            _docx,
            {
                **shared,
                "link": r"example\.org/tides",
                "footnote": "Spring tides only",
                "comment": "Ask the pilot",
                "inserted": "freshly painted",
                "deleted is out": r"\A(?![\s\S]*rotten)",
            },
        ),
        "known.pptx": (
            _pptx,
            {
                "title": r"(?:#+ *)Mooring lines",
                "text": "Check the knots",
                "table rows": ROW,
                "notes": "Speak slowly",
                "slide 2": "Night watch",
            },
        ),
        "known.xlsx": (_xlsx, {"sheet names": "Berths[\\s\\S]*Tides", "rows": ROW, "date": "2024-03-09"}),
        "known.ods": (_ods, {"sheet names": "Berths[\\s\\S]*Tides", "rows": ROW}),
        "known.rtf": (_rtf, {"text": "Check the knots", "unicode": "Straße 港", "table rows": ROW}),
        "known.epub": (
            _epub,
            {**shared, "order": r"Mooring lines[\s\S]*Night watch", "title": "Harbour book"},
        ),
        "known.eml": (_eml, {"subject": "Größe", "text": "Check the knots"}),
        "known.ipynb": (_ipynb, {"heading": HEADING, "code": "knots = 2", "output": "4711"}),
        "known.html": (_html, {**shared, "navigation is out": r"\A(?![\s\S]*Cookie settings)"}),
    }
    documents = []
    for name, (write, patterns) in features.items():
        # What makes a kind may not be installed; others need nothing.
        with contextlib.suppress(ModuleNotFoundError):
            write(folder / name)
            documents.append(Document(folder / name, patterns))
    return documents


def _docx(path: Path) -> None:
    def paragraph(inside: str, style: str = "") -> str:
        return f"<w:p>{f'<w:pPr>{style}</w:pPr>' if style else ''}{inside}</w:p>"

    def run(text: str) -> str:
        return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'

    cells = (("Berth", "Ship"), ("North 1", "Blue Heron"), ("North 2", "Ada"))
    table = "".join(
        "<w:tr>" + "".join(f"<w:tc>{paragraph(run(cell))}</w:tc>" for cell in row) + "</w:tr>"
        for row in cells
    )
    marks = '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr>'
    comment = (
        '<w:commentRangeStart w:id="0"/>{}<w:commentRangeEnd w:id="0"/>'
        '<w:r><w:commentReference w:id="0"/></w:r>'
    )
    body = [
        paragraph(run("Mooring lines"), '<w:pStyle w:val="Heading1"/>'),
        paragraph(run("The tide turns") + '<w:r><w:footnoteReference w:id="2"/></w:r>'),
        paragraph(f'<w:hyperlink r:id="link">{run("the tables")}</w:hyperlink>'),
        paragraph(run("Check the knots"), marks),
        paragraph(run("Count the fenders"), marks),
        paragraph(comment.format(run("The pier is long"))),
        paragraph(
            f'<w:ins w:id="5" w:author="A">{run("freshly painted")}</w:ins>'
            '<w:del w:id="6" w:author="A"><w:r><w:delText>rotten</w:delText></w:r></w:del>'
        ),
        f"<w:tbl>{table}</w:tbl>",
    ]
    style = (
        '<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/>'
        '<w:pPr><w:outlineLvl w:val="0"/></w:pPr></w:style>'
    )
    numbering = (
        '<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl>'
        "</w:abstractNum>"
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    )
    footnote = f'<w:footnote w:id="2">{paragraph(run("Spring tides only"))}</w:footnote>'
    note = f'<w:comment w:id="0" w:author="Ann" w:initials="A">{paragraph(run("Ask the pilot"))}</w:comment>'
    parts = {
        "document": f'<w:document {W} xmlns:r="{R}"><w:body>{"".join(body)}</w:body></w:document>',
        "styles": f"<w:styles {W}>{style}</w:styles>",
        "numbering": f"<w:numbering {W}>{numbering}</w:numbering>",
        "footnotes": f"<w:footnotes {W}>{footnote}</w:footnotes>",
        "comments": f"<w:comments {W}>{note}</w:comments>",
    }
    beside = [name for name in parts if name != "document"]
    links = "".join(f'<Relationship Id="{n}" Type="{R}/{n}" Target="{n}.xml"/>' for n in beside)
    links += (
        f'<Relationship Id="link" Type="{R}/hyperlink" Target="https://example.org/tides"'
        ' TargetMode="External"/>'
    )
    kinds = {name: "document.main" if name == "document" else name for name in parts}
    types = "".join(
        f'<Override PartName="/word/{name}.xml" ContentType="{WORD}.{kind}+xml"/>'
        for name, kind in kinds.items()
    )
    types = f'<Default Extension="rels" ContentType="{RELATIONS}"/>{types}'
    main = f'<Relationship Id="r1" Type="{R}/officeDocument" Target="word/document.xml"/>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{PACKAGE}/content-types">{types}</Types>',
        )
        archive.writestr(
            "_rels/.rels", f'<Relationships xmlns="{PACKAGE}/relationships">{main}</Relationships>'
        )
        archive.writestr(
            "word/_rels/document.xml.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships">{links}</Relationships>',
        )
        for name, text in parts.items():
            archive.writestr(f"word/{name}.xml", f'<?xml version="1.0" encoding="UTF-8"?>{text}')


def _pptx(path: Path) -> None:
    presentation = need("pptx").Presentation()
    layouts = presentation.slide_layouts
    first = presentation.slides.add_slide(layouts[1])
    first.shapes.title.text = "Mooring lines"
    first.placeholders[1].text = "Check the knots"
    first.notes_slide.notes_text_frame.text = "Speak slowly"
    second = presentation.slides.add_slide(layouts[5])
    second.shapes.title.text = "Night watch"
    table = second.shapes.add_table(3, 2, 0, 0, 4000000, 1000000).table
    for row, cells in enumerate((("Berth", "Ship"), ("North 1", "Blue Heron"), ("North 2", "Ada"))):
        for column, cell in enumerate(cells):
            table.cell(row, column).text = cell
    presentation.save(str(path))


def _xlsx(path: Path) -> None:
    book = need("openpyxl").Workbook()
    sheet = book.active
    sheet.title = "Berths"
    for row in (["Berth", "Ship"], ["North 1", "Blue Heron"], ["North 2", "Ada"]):
        sheet.append(row)
    book.create_sheet("Tides").append([datetime.date(2024, 3, 9), 4.2, "=B1*2"])
    book.save(path)


def _ods(path: Path) -> None:
    odfdo = need("odfdo")
    document = odfdo.Document("spreadsheet")
    document.body.clear()
    for name, rows in (
        ("Berths", [["Berth", "Ship"], ["North 1", "Blue Heron"], ["North 2", "Ada"]]),
        ("Tides", [[4.2]]),
    ):
        table = odfdo.Table(name)
        table.set_values(rows)
        document.body.append(table)
    document.save(str(path))


def _rtf(path: Path) -> None:
    rows = "".join(
        r"\trowd\cellx3000\cellx6000\intbl " + "".join(rf"{cell}\cell " for cell in row) + r"\row "
        for row in (("Berth", "Ship"), ("North 1", "Blue Heron"), ("North 2", "Ada"))
    )
    path.write_text(
        r"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}\f0 Check the knots\par Stra\'dfe \u28207?\par "
        + rows
        + "}",
        encoding="ascii",
    )


def _epub(path: Path) -> None:
    table = "".join(
        f"<tr><td>{one}</td><td>{other}</td></tr>"
        for one, other in (("North 1", "Blue Heron"), ("North 2", "Ada"))
    )
    # Read in the order of the spine, which is neither that of the names nor that of the manifest.
    chapters = {
        "b.xhtml": f"<h1>Mooring lines</h1><ul><li>Check the knots</li></ul><table>{table}</table>",
        "a.xhtml": "<h1>Night watch</h1><p>All is well.</p>",
    }
    items = "".join(
        f'<item id="{name[0]}" href="{name}" media-type="application/xhtml+xml"/>'
        for name in sorted(chapters)
    )
    book = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">1</dc:identifier>'
        "<dc:title>Harbour book</dc:title><dc:language>en</dc:language></metadata>"
        f'<manifest>{items}</manifest><spine><itemref idref="b"/><itemref idref="a"/></spine></package>'
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
        '<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/>'
        "</rootfiles></container>"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("OPS/book.opf", book)
        for name, body in chapters.items():
            archive.writestr(
                f"OPS/{name}", f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>'
            )


def _eml(path: Path) -> None:
    message = email.message.EmailMessage()
    message["Subject"] = "Größe"
    message["From"] = "ann@example.org"
    message.set_content("Check the knots\n")
    path.write_bytes(message.as_bytes())


def _ipynb(path: Path) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": ["4711\n"]}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Mooring lines"]},
        {
            "cell_type": "code",
            "metadata": {},
            "source": "knots = 2",
            "execution_count": 1,
            "outputs": [output],
        },
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    path.write_text(json.dumps(notebook), encoding="utf-8")


def _html(path: Path) -> None:
    prose = " ".join("The harbour is quiet in the morning and the boats lie still." for _ in range(6))
    links = "<a href='/'>Home</a> <a href='/c'>Cookie settings</a>"
    table = "<tr><td>North 1</td><td>Blue Heron</td></tr><tr><td>North 2</td><td>Ada</td></tr>"
    path.write_text(
        f"<html><head><title>Harbour</title></head><body><nav>{links}</nav>"
        f"<article><h1>Mooring lines</h1><p>{prose}</p><ul><li>Check the knots</li></ul>"
        f"<table>{table}</table><p>{prose}</p></article><footer>{links}</footer></body></html>",
        encoding="utf-8",
    )
