"""Each kind of file: what of it is kept, and that a passage knows where it stands."""

from __future__ import annotations

import json
import mailbox
import os
import signal
import threading
import time
import zipfile
from collections.abc import Iterator
from email.message import EmailMessage
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ragqa.config import ChunkSettings
from ragqa.corpus.chunking import Chunker, Piece
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import ingest
from ragqa.sources import Fields, Skipped, apart, archives, open_sources, registry
from ragqa.sources.loader import File, Loader
from ragqa.types import Document

CHUNK = ChunkSettings()


def load(path: Path) -> dict[str, Document | Skipped]:
    found = {}
    for source in open_sources([str(path)], Fields()):
        for item in source.items:
            found[item.id if isinstance(item, Document) else item.name] = item
    return found


def only(folder: Path, name: str, content: str | bytes) -> Document:
    """Write a file, and return the one document that its folder then has."""
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    found = load(folder)[name]
    assert isinstance(found, Document), found
    return found


def pieces(document: Document) -> list[Piece]:
    found = Chunker(CHUNK.tokens, CHUNK.overlap).pieces(document)
    assert all(document.text[piece.start : piece.end] == piece.text for piece in found)
    return found


def place_of(document: Document, said: str) -> str:
    """Return the place of the one piece that says this."""
    (piece,) = [piece for piece in pieces(document) if said in piece.text]
    return str(piece.place)


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    body = "\n\n".join(
        f"## Part {number}\n\n" + f"Sentence of part {number}. " * 40 for number in range(1, 6)
    )
    document = only(tmp_path, "a.md", f"---\ntitle: A\n---\n\n# A\n\n{body}\n")
    raw = (tmp_path / "a.md").read_text().splitlines()
    for piece in pieces(document):
        assert piece.place is not None
        assert piece.text.strip("\n") in "\n".join(raw[piece.place.first - 1 : piece.place.last])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.rst", "Storage\n=======\n\nFirst words.\n\nCopies\n------\n\nKept in Oslo.\n"),
        ("a.org", "* Storage\nFirst words.\n\n** TODO Copies :tag:\n\nKept in Oslo.\n"),
        ("a.adoc", "= Storage\n\nFirst words.\n\n== Copies\n\nKept in Oslo.\n"),
        ("a.tex", "\\section{Storage}\nFirst words.\n\n\\subsection{Copies}\n\nKept in Oslo.\n"),
    ],
)
def test_headings_of_markup_are_headings_and_lines_stay(tmp_path: Path, name: str, text: str) -> None:
    document = only(tmp_path, name, text + "Many more words. " * 200)
    assert document.title == "Storage"
    assert document.text.split("\n")[text.split("\n").index("Kept in Oslo.")] == "Kept in Oslo."
    assert "\n## Copies\n" in document.text
    (piece,) = [piece for piece in pieces(document) if "Kept in Oslo" in piece.text]
    assert piece.place is not None
    assert piece.place.first == 1


def test_a_notebook_is_read_by_cells(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Tides\n", "\n", "Heights of water."]},
        {"cell_type": "code", "source": "tide(3)", "outputs": [{"text": ["4.2 metres\n"]}]},
        {"cell_type": "code", "source": "", "outputs": []},
    ]
    document = only(tmp_path, "a.ipynb", json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    assert document.title == "Tides"
    assert place_of(document, "Heights of water") == "cell 1"
    assert place_of(document, "4.2 metres") == "cell 2"
    assert "```python\ntide(3)\n```" in document.text


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_says_its_columns_with_each_row(tmp_path: Path, separator: str) -> None:
    rows = [["country", "capital"], ["Spain", "Madrid"], [], ["Norway", '"Oslo, on\nthe fjord"']]
    text = "\n".join(separator.join(row) for row in rows)
    document = only(tmp_path, "a.csv", text)
    assert document.text.split("\n") == [
        "- country: Spain; capital: Madrid", "", "- country: Norway; capital: Oslo, on the fjord"
    ]  # fmt: skip
    assert place_of(document, "Madrid") == "rows 2-4"


def test_rows_of_a_long_table_are_counted(tmp_path: Path) -> None:
    lines = ["number,square", *(f"{number},{number * number}" for number in range(1, 400))]
    document = only(tmp_path, "a.csv", "\n".join(lines))
    (piece,) = [piece for piece in pieces(document) if "number: 321; square: 103041" in piece.text]
    assert piece.place is not None
    assert piece.place.first <= 322 <= piece.place.last


def test_json_and_xml_say_what_stands_under_which_name(tmp_path: Path) -> None:
    found = only(tmp_path, "a.json", '{"name": "Mill", "built": {"year": 1810, "by": ["Ada", "Eve"]}}')
    assert found.title == "Mill"
    assert found.text.split("\n") == ["name: Mill", "built.year: 1810", "built.by: Ada, Eve"]
    found = only(tmp_path, "a.xml", "<mill><title>Mill</title><built>in <b>1810</b>, by Ada</built></mill>")
    assert (found.title, "b: 1810" in found.text) == ("Mill", True)
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>'
    (tmp_path / "bomb.xml").write_text(bomb)
    assert load(tmp_path)["bomb.xml"] == Skipped("bomb.xml", "XML that declares entities", unread=True)


def message(subject: str, text: str) -> EmailMessage:
    made = EmailMessage()
    made["Subject"], made["From"], made["To"] = subject, "Ada <ada@example.com>", "eve@example.com"
    made["Date"] = "Mon, 4 Mar 2024 10:00:00 +0100"
    made.set_content(text)
    return made


def test_a_message_has_its_headers_and_attachments(tmp_path: Path) -> None:
    made = message("The lease", "It ends in May.")
    made.add_attachment(b"# Keys\n\nTwo keys.", maintype="text", subtype="markdown", filename="keys.md")
    made.add_attachment(b"\x00\x01", maintype="image", subtype="png", filename="photo.raw")
    (tmp_path / "a.eml").write_bytes(made.as_bytes())
    found = load(tmp_path)
    document = found["a.eml"]
    assert isinstance(document, Document)
    assert document.title == "The lease"
    assert document.metadata["date"] == "2024-03-04T10:00:00+01:00"
    assert "From: Ada <ada@example.com>" in document.text
    assert "It ends in May." in document.text
    assert isinstance(found["a.eml/keys.md"], Document)
    assert found["a.eml/photo.raw"] == Skipped("a.eml/photo.raw", "no text", kind=".raw")


def test_what_a_mailbox_quotes_is_said_once(tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "in.mbox")
    box.add(message("Keys", "The keys are with the porter.\n"))
    box.add(message("Re: Keys", "Thanks!\n\n> The keys are with the porter.\n> He is here till five.\n"))
    box.close()
    found = load(tmp_path)
    assert list(found) == ["in.mbox/1", "in.mbox/2"]
    second = found["in.mbox/2"]
    assert isinstance(second, Document)
    assert "with the porter" not in second.text
    assert "> He is here till five." in second.text


def book(path: Path) -> None:
    package = (
        "<package><metadata><dc:title>The Tides</dc:title><dc:creator>Ada</dc:creator></metadata><manifest>"
        '<item id="one" href="one.xhtml"/><item id="two" href="sub/two.xhtml"/></manifest>'
        '<spine><itemref idref="two"/><itemref idref="one"/></spine></package>'
    )
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("META-INF/container.xml", '<container><rootfile full-path="OEBPS/p.opf"/></container>')
        made.writestr("OEBPS/p.opf", package)
        made.writestr("OEBPS/one.xhtml", "<html><body><h1>Ebb</h1><p>The water falls.</p></body></html>")
        made.writestr(
            "OEBPS/sub/two.xhtml", "<html><body><h1>Flood</h1><p>The water rises.</p></body></html>"
        )


def test_a_book_is_read_by_chapters_in_its_own_order(tmp_path: Path) -> None:
    book(tmp_path / "a.epub")
    document = load(tmp_path)["a.epub"]
    assert isinstance(document, Document)
    assert (document.title, document.metadata["author"]) == ("The Tides", "Ada")
    assert place_of(document, "The water rises") == "chapter 1"
    assert place_of(document, "The water falls") == "chapter 2"


PYTHON = '''"""Harbours."""

LIMIT = 3


class Pier:
    """A pier."""

    @property
    def free(self) -> int:
        """Say how many ships may still come."""
        return LIMIT


def moor(ship):
    # Ropes first.
    return ship
'''


def test_code_is_cut_by_functions_with_their_names(tmp_path: Path) -> None:
    found = pieces(only(tmp_path, "harbour.py", PYTHON))
    places = {piece.headings: str(piece.place) for piece in found}
    assert places == {
        (): "lines 1-3", ("Pier",): "lines 6-7", ("Pier.free",): "lines 9-12", ("moor",): "lines 15-17",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "code", "names"),
    [
        (
            "a.js",
            "// Moors.\nexport async function moor(ship) {\n  return ship\n}\n\nclass Pier {\n}\n",
            ["moor", "Pier"],
        ),
        ("a.go", "package a\n\nfunc (p *Pier) Free() int {\n\treturn 3\n}\n", ["Free"]),
        (
            "a.rs",
            "pub struct Pier {\n}\n\nimpl Pier {\n    pub fn free(&self) -> u8 {\n        3\n    }\n}\n",
            ["Pier", "Pier.free"],
        ),
        ("a.c", "#include <stdio.h>\n\nstatic int moor(struct ship *s) {\n  if (s) {\n  }\n}\n", ["moor"]),
        ("a.sql", "CREATE TABLE IF NOT EXISTS piers (id INTEGER);\n", ["piers"]),
        ("a.rb", "class Pier\n  def free\n    3\n  end\nend\n", ["Pier", "Pier.free"]),
    ],
)  # fmt: skip
def test_other_languages_are_cut_by_what_looks_like_a_definition(
    tmp_path: Path, name: str, code: str, names: list[str]
) -> None:
    document = only(tmp_path, name, code)
    assert document.parts is not None
    found = [part.headings[-1] for part in document.parts.parts if part.headings]
    assert list(dict.fromkeys(found)) == names


def test_an_archive_gives_its_members(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("inner/notes.md", "# Notes\n\nFrom within.")
        made.writestr("../../evil.md", "Out of here.")
        made.writestr("__MACOSX/notes.md", "Nothing.")
        made.writestr("film.mp4", b"\x00")
        made.writestr("again.zip", b"PK")
        made.writestr("zeros.txt", b"0" * 9_000_000)
    found = load(tmp_path)
    assert isinstance(found["a.zip/inner/notes.md"], Document)
    assert not any("evil" in name for name in found)
    assert {name: item.reason for name, item in found.items() if isinstance(item, Skipped)} == {
        "a.zip/film.mp4": "no text",
        "a.zip/again.zip": "an archive in an archive",
        "a.zip/zeros.txt": "larger than 10,000,000 bytes, or packed too well",
    }
    assert not (tmp_path.parent / "evil.md").exists()


def test_an_archive_is_read_no_further_than_its_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        for number in range(3):
            made.writestr(f"{number}.md", f"Number {number}.")
    found = load(tmp_path)
    assert [name for name, item in found.items() if isinstance(item, Document)] == [
        "a.zip/0.md",
        "a.zip/1.md",
    ]
    assert isinstance(found["a.zip"], Skipped)


def test_kinds_without_a_reader_are_counted_and_damaged_files_cost_only_themselves(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"\x00")
    (tmp_path / "rows.jsonl").write_text("{}")
    (tmp_path / "LICENSE").write_text("Do as you like.")
    (tmp_path / "broken.epub").write_bytes(b"PK\x03\x04 no more")
    (tmp_path / "broken.ipynb").write_text("{")
    (tmp_path / "good.md").write_text("Good.")
    found = load(tmp_path)
    assert isinstance(found.pop("good.md"), Document)
    assert {name: (item.kind, item.reason) for name, item in found.items() if isinstance(item, Skipped)} == {
        "film.mp4": (".mp4", "no text"),
        "rows.jsonl": (".jsonl", "records: name the file itself, with --id and --text"),
        "LICENSE": ("without a suffix", "no text"),
        "broken.epub": ("", "damaged (no book)"),
        "broken.ipynb": ("", "not a notebook"),
    }


def test_a_kind_that_wants_an_extra_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loader, "lacks", lambda loader: bool(loader.needs))
    for name in ("a.pdf", "b.pdf", "c.docx", "d.png"):
        (tmp_path / name).write_bytes(b"Something.")
    with Corpus.open(tmp_path / "c.db", create=True) as corpus:
        report = ingest(corpus, open_sources([str(tmp_path / "*.[pd]*")], Fields()), CHUNK)
    found = report.not_read()
    assert "2 .pdf (pip install 'ragqa[docs]')" in found
    assert "1 .docx (pip install 'ragqa[docs]')" in found
    assert "1 .png (pip install 'ragqa[ocr]')" in found


def test_a_title_without_a_text_is_kept(tmp_path: Path) -> None:
    document = only(tmp_path, "a.html", "<html><head><title>Mills of Kent</title></head><body></body></html>")
    assert (document.title, document.text) == ("Mills of Kent", "Mills of Kent")
    assert len(pieces(document)) == 1


# -- a process of its own -----------------------------------------------------------------------------


def hang(file: File) -> Iterator[Document]:
    time.sleep(60)
    yield Document(file.name, "", "")


def die(file: File) -> Iterator[Document]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield Document(file.name, "", "")


def fill(file: File) -> Iterator[Document]:
    yield Document(file.name, "", "x" * (len(bytearray(2**40)) and 1))


def chatter(file: File) -> Iterator[Document]:
    print("A library that prints.", flush=True)
    os.write(1, b"And one that writes.")
    yield Document(file.name, "Said", "said", metadata={"n": 1})


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Have the process know this module's functions as loaders."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    apart.stop()
    yield tmp_path
    apart.stop()


def read(name: str, path: Path) -> list[Document | Skipped]:
    loader = Loader((), f"{name}", apart=True)
    return list(apart.read_apart(loader, File(path / "a", "a", "a")))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("hang", "took longer than 1 s"), ("die", "damaged"), ("fill", "too large")],
)
def test_what_a_reader_does_not_survive_is_said(
    target: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    monkeypatch.setattr(apart, "PATIENCE_S", 20.0)
    assert read("tests.sources.test_kinds:chatter", target)
    monkeypatch.setattr(apart, "PATIENCE_S", 1.0)
    with pytest.raises(ValueError, match=reason):
        read(f"tests.sources.test_kinds:{name}", target)
    monkeypatch.setattr(apart, "PATIENCE_S", 20.0)
    # The next file is read all the same.
    assert read("tests.sources.test_kinds:chatter", target) == [
        Document("a", "Said", "said", metadata={"n": 1})
    ]


def test_threads_read_one_after_the_other(target: Path) -> None:
    found: list[list[Document | Skipped]] = []
    threads = [
        threading.Thread(target=lambda: found.append(read("tests.sources.test_kinds:chatter", target)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [[Document("a", "Said", "said", metadata={"n": 1})]] * 4


# -- loaders of others --------------------------------------------------------------------------------


def test_another_packages_loader_reads_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_dwg(file: File) -> Iterator[Document | Skipped]:
        yield Document(file.name, "Drawing", f"A plan of {file.path.stem}.", file.source)

    monkeypatch.setattr(registry, "plugins", lambda: {".dwg": read_dwg})
    assert only(tmp_path, "mill.dwg", b"\x00").text == "A plan of mill."


def test_another_packages_loader_that_cannot_be_imported_costs_its_own_kind_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint(".dwg", "ragqa.no_such_module:read", "ragqa.loaders")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    monkeypatch.setattr(registry, "plugins", registry.plugins.__wrapped__)
    (tmp_path / "mill.dwg").write_bytes(b"\x00")
    assert only(tmp_path, "notes.md", "Read all the same.").text == "Read all the same."
    skipped = load(tmp_path)["mill.dwg"]
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "damaged (ModuleNotFoundError)"


@pytest.mark.parametrize("line", ["public " * 8_000, "a b c(d) " * 4_000, "fn " * 16_000, "int x(" * 8_000])
def test_a_line_without_an_end_takes_no_time_that_grows_with_its_square(tmp_path: Path, line: str) -> None:
    start = time.monotonic()
    assert only(tmp_path, "a.java", line).text
    assert time.monotonic() - start < 2
