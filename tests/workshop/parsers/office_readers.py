"""The libraries that read documents other than PDF, and what the standard library does alone."""

from __future__ import annotations

import contextlib
import csv
import email
import email.policy
import io
import json
import posixpath
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from tests.workshop.parsers.measure import need

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
LINK = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
RTF_TOO = {".docx", ".pptx", ".xlsx", ".xls", ".epub", ".msg", ".ipynb", ".html", ".csv"}


@dataclass(frozen=True, slots=True)
class OfficeReader:
    """A way to read some kinds of documents; `package` is what is installed, "" for nothing."""

    name: str
    package: str
    suffixes: frozenset[str]
    read: Callable[[Path], str]


def office_readers() -> list[OfficeReader]:
    """Return every way, by the kinds they read."""

    def reader(name: str, package: str, suffixes: str, read: Callable[[Path], str]) -> OfficeReader:
        return OfficeReader(name, package, frozenset(suffixes.split()), read)

    whole = " ".join(RTF_TOO)
    return [
        reader("mammoth", "mammoth", ".docx", _mammoth),
        reader("python-docx", "python-docx", ".docx", _python_docx),
        reader("zipfile, ElementTree", "", ".pptx", _plain_pptx),
        reader("python-pptx", "python-pptx", ".pptx", _python_pptx),
        reader("python-calamine", "python-calamine", ".xlsx .xls .ods", _calamine),
        reader("openpyxl, read-only", "openpyxl", ".xlsx", _openpyxl),
        reader("xlrd", "xlrd", ".xls", _xlrd),
        reader("odfpy", "odfpy", ".ods", _odfpy),
        reader("odfdo", "odfdo", ".ods", _odfdo),
        reader("striprtf", "striprtf", ".rtf", _striprtf),
        reader("zipfile, markdownify", "markdownify", ".epub", _plain_epub),
        reader("olefile", "olefile", ".msg", _olefile),
        reader("python-oxmsg", "python-oxmsg", ".msg", _oxmsg),
        reader("email", "", ".eml", _email),
        reader("json", "", ".ipynb", _json),
        reader("nbformat", "nbformat", ".ipynb", _nbformat),
        reader("markdownify", "markdownify", ".html", lambda path: _markdown(path.read_bytes())),
        reader("markdownify, no navigation", "markdownify", ".html", _without_navigation),
        reader("csv, encodings tried", "", ".csv", _csv),
        reader("trafilatura", "trafilatura", ".html", _trafilatura),
        reader("markitdown", "markitdown[all]", whole, _markitdown),
        reader("kreuzberg", "kreuzberg", f"{whole} .rtf .eml .ods", _kreuzberg),
    ]


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    return "\n".join(" | ".join(map(_shown, row)) for row in rows)


def _shown(cell: Any) -> str:
    # Sheets know one kind of number: 89 comes as 89.0 from some.
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell)


def _mammoth(path: Path) -> str:
    mammoth = need("mammoth")
    with path.open("rb") as file:
        # Comments are left out unless a style asks for them; pictures would be in the text, in base64.
        return str(
            mammoth.convert_to_html(
                file,
                style_map="comment-reference => sup",
                convert_image=mammoth.images.img_element(lambda image: {"src": ""}),
            ).value
        )


def _python_docx(path: Path) -> str:
    document = need("docx").Document(str(path))
    parts = []
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            parts.append(_lines([cell.text for cell in row.cells] for row in block.rows))
        else:
            style = block.style.name if block.style is not None else ""
            mark = "# " if style.lower().startswith("heading") else "- " * style.startswith("List")
            parts.append(mark + block.text)
    parts += [comment.text for comment in document.comments]
    return "\n\n".join(parts)


def _plain_pptx(path: Path) -> str:
    parts: list[str] = []
    with zipfile.ZipFile(path) as archive:
        targets = _relations(archive, "ppt/presentation.xml")
        slides = ElementTree.fromstring(archive.read("ppt/presentation.xml")).iter(f"{P}sldId")
        for slide in slides:
            name = targets[slide.attrib[LINK]]
            parts += _shapes(archive, name, "# ")
            for notes in _relations(archive, name).values():
                if "/notesSlide" in notes:
                    parts += ["Notes:", *_shapes(archive, notes, None)]
    return "\n\n".join(parts)


def _relations(archive: zipfile.ZipFile, name: str) -> dict[str, str]:
    folder, _, file = name.rpartition("/")
    try:
        tree = ElementTree.fromstring(archive.read(f"{folder}/_rels/{file}.rels"))
    except KeyError:
        return {}
    return {
        one.attrib["Id"]: posixpath.normpath(posixpath.join("/", folder, one.attrib["Target"])).lstrip("/")
        for one in tree
        if one.get("TargetMode") != "External"
    }


def _shapes(archive: zipfile.ZipFile, name: str, title: str | None) -> list[str]:
    # Without a title's mark only the body counts: notes have a picture of the slide and its number beside.
    parts = []
    for shape in ElementTree.fromstring(archive.read(name)).iter():
        if shape.tag == f"{A}tbl":
            rows = shape.iter(f"{A}tr")
            parts.append(_lines([_text(cell) for cell in row.iter(f"{A}tc")] for row in rows))
        elif shape.tag == f"{P}sp":
            place = shape.find(f"./{P}nvSpPr/{P}nvPr/{P}ph")
            kind = "" if place is None else place.get("type", "body")
            text = _text(shape)
            if text and (kind == "body" if title is None else kind not in {"sldNum", "dt", "ftr"}):
                parts.append((title if title and kind in {"title", "ctrTitle"} else "") + text)
    return parts


def _text(element: ElementTree.Element) -> str:
    lines = ("".join(run.text or "" for run in line.iter(f"{A}t")) for line in element.iter(f"{A}p"))
    return "\n".join(line for line in lines if line.strip())


def _python_pptx(path: Path) -> str:
    parts = []
    for slide in need("pptx").Presentation(str(path)).slides:
        title = slide.shapes.title
        for shape in slide.shapes:
            if shape.has_text_frame:
                is_title = title is not None and shape.shape_id == title.shape_id
                parts.append("# " * is_title + shape.text_frame.text)
            elif shape.has_table:
                parts.append(_lines([cell.text for cell in row.cells] for row in shape.table.rows))
        if slide.has_notes_slide:
            parts.append(slide.notes_slide.notes_text_frame.text)
    return "\n\n".join(parts)


def _calamine(path: Path) -> str:
    parts = []
    with need("python_calamine").CalamineWorkbook.from_path(str(path)) as book:
        for name in book.sheet_names:
            parts += [f"## {name}", _lines(book.get_sheet_by_name(name).iter_rows())]
    return "\n".join(parts)


def _openpyxl(path: Path) -> str:
    book = need("openpyxl").load_workbook(path, read_only=True, data_only=True)
    parts = []
    for sheet in book.worksheets:
        parts += [f"## {sheet.title}", _lines(sheet.iter_rows(values_only=True))]
    book.close()
    return "\n".join(parts)


def _xlrd(path: Path) -> str:
    parts = []
    with need("xlrd").open_workbook(path, on_demand=True) as book:
        for name in book.sheet_names():
            parts += [
                f"## {name}",
                _lines([cell.value for cell in row] for row in book.sheet_by_name(name).get_rows()),
            ]
    return "\n".join(parts)


def _odfpy(path: Path) -> str:
    table, text = need("odf.table"), need("odf.teletype")
    parts = []
    for sheet in need("odf.opendocument").load(str(path)).getElementsByType(table.Table):
        rows = sheet.getElementsByType(table.TableRow)
        cells = ([text.extractText(cell) for cell in row.getElementsByType(table.TableCell)] for row in rows)
        parts += [f"## {sheet.getAttribute('name')}", _lines(cells)]
    return "\n".join(parts)


def _odfdo(path: Path) -> str:
    sheets = need("odfdo").Document(str(path)).body.tables
    return "\n".join(f"## {sheet.name}\n{_lines(sheet.iter_values())}" for sheet in sheets)


def _striprtf(path: Path) -> str:
    text = path.read_text(encoding="cp1252", errors="replace")
    return str(need("striprtf.striprtf").rtf_to_text(text, errors="replace"))


def _plain_epub(path: Path) -> str:
    dc, opf = "{http://purl.org/dc/elements/1.1/}", "{http://www.idpf.org/2007/opf}"
    with zipfile.ZipFile(path) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        root = next(one.attrib["full-path"] for one in container.iter() if "full-path" in one.attrib)
        book = ElementTree.fromstring(archive.read(root))
        files = {one.attrib["id"]: one.attrib["href"] for one in book.iter(f"{opf}item")}
        parts = [book.findtext(f".//{dc}title") or ""]
        for one in book.iter(f"{opf}itemref"):
            name = posixpath.normpath(
                posixpath.join(posixpath.dirname(root), unquote(files[one.attrib["idref"]]))
            )
            parts.append(_markdown(archive.read(name)))
    return "\n\n".join(parts)


def _markdown(data: bytes) -> str:
    soup = need("bs4").BeautifulSoup(data, "html.parser")
    return str(need("markdownify").MarkdownConverter(heading_style="ATX").convert_soup(soup))


def _olefile(path: Path) -> str:
    # Subject, sender, to, body: [MS-OXPROPS] 2.1036, 2.1012, 2.1047, 2.618; 001F is UTF-16, 001E is 8-bit.
    parts = []
    with need("olefile").OleFileIO(path) as file:
        for tag in ("0037", "0C1A", "0C1F", "0E04", "1000"):
            for kind, encoding in (("001F", "utf-16-le"), ("001E", "cp1252")):
                if file.exists(f"__substg1.0_{tag}{kind}"):
                    parts.append(
                        file.openstream(f"__substg1.0_{tag}{kind}").read().decode(encoding, "replace")
                    )
    return "\n".join(parts)


def _oxmsg(path: Path) -> str:
    message = need("oxmsg").Message.load(str(path))
    return "\n".join(filter(None, (message.subject, message.sender, str(message.sent_date), message.body)))


def _email(path: Path) -> str:
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    body = message.get_body(("plain", "html"))
    return f"{message['Subject']}\n\n{body.get_content() if body else ''}"


def _json(path: Path) -> str:
    return _cells(json.loads(path.read_bytes())["cells"])


def _nbformat(path: Path) -> str:
    return _cells(need("nbformat").read(str(path), as_version=4).cells)


def _cells(cells: Iterable[Any]) -> str:
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```\n{source}\n```")
        parts += ["".join(output["text"]) for output in cell.get("outputs", ()) if "text" in output]
    return "\n\n".join(parts)


def _without_navigation(path: Path) -> str:
    soup = need("bs4").BeautifulSoup(path.read_bytes(), "html.parser")
    for element in soup(["nav", "header", "footer", "aside", "script", "style", "form", "button"]):
        # The header of an article has its title.
        if element.name != "header" or element.find_parent(["article", "main"]) is None:
            element.decompose()
    return str(need("markdownify").MarkdownConverter(heading_style="ATX").convert_soup(soup.body or soup))


def _csv(path: Path) -> str:
    data = path.read_bytes()
    for encoding in ("utf-8-sig", "cp932", "cp1252", "latin-1"):
        with contextlib.suppress(UnicodeDecodeError):
            return _lines(csv.reader(io.StringIO(data.decode(encoding), newline="")))
    return ""


def _trafilatura(path: Path) -> str:
    found = need("trafilatura").extract(path.read_bytes(), output_format="markdown", include_tables=True)
    return str(found or "")


def _markitdown(path: Path) -> str:
    return str(need("markitdown").MarkItDown().convert(str(path)).markdown)


def _kreuzberg(path: Path) -> str:
    library = need("kreuzberg")
    config = library.ExtractionConfig(output_format="markdown")
    return str(library.extract_file_sync(str(path), config=config).content)
