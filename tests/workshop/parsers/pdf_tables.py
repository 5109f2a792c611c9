"""The tables about PDF: what is found, in which order, what else can be told, what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.workshop.parsers import pdfs
from tests.workshop.parsers.measure import (
    in_order,
    licence,
    megabytes,
    outcome,
    quietly,
    rows_kept,
    seconds,
    version,
    words_found,
)
from tests.workshop.parsers.pdf_readers import PdfReader, pdf_readers


def pdf_tables(folder: Path, scratch: Path) -> Iterator[str]:
    """Yield the lines of the tables."""
    known = {one.name: one for one in pdfs.generate(scratch)}
    plain = known["one column"].path
    pdfs.labelled(scratch / "labels.pdf")
    pdfs.encrypted(scratch / "encrypted.pdf", plain)
    pdfs.truncated(scratch / "truncated.pdf", plain)
    installed = [reader for reader in pdf_readers() if version(reader.package)]
    yield from _text_table(installed, known)
    yield from _abilities(installed, known, scratch)
    yield from _as_drawn(installed, sorted(folder.glob("*.pdf")))
    yield from _costs(installed, [plain, *sorted(folder.glob("*.pdf"))])


def _text_table(installed: list[PdfReader], known: dict[str, pdfs.Known]) -> Iterator[str]:
    with_text = [one for one in known.values() if one.sentences]
    yield f"| PDF: words found / neighbours in order | {' | '.join(one.name for one in with_text)} |"
    yield "| --- |" + " ---: |" * len(with_text)
    for reader in installed:
        cells = []
        for one in with_text:
            text = quietly(partial(reader.text, one.path))
            share = f"{words_found(one.sentences, text):.0%}"
            cells.append(
                share + (f" / {in_order(one.sentences, text):.0%}" if len(one.sentences) > 1 else "")
            )
        yield f"| {reader.name} | {' | '.join(cells)} |"
    yield ""


def _abilities(installed: list[PdfReader], known: dict[str, pdfs.Known], scratch: Path) -> Iterator[str]:
    yield (
        "| PDF | headings | rows, ruled | rows, no rules | page labels | title"
        " | no password | password | truncated |"
    )
    yield "| --- | ---: | ---: | ---: | --- | --- | --- | --- | --- |"
    locked, cut = scratch / "encrypted.pdf", scratch / "truncated.pdf"
    for reader in installed:
        headed = known["headings"]
        found = reader.headings(headed.path) if reader.headings else []
        right = sum(heading in found for heading in headed.headings)
        rows = [
            f"{rows_kept(one.rows, reader.text(one.path))}/{len(one.rows)}"
            for one in known.values()
            if one.rows
        ]
        cells = [
            f"{right}/{len(headed.headings)}" if reader.headings else "-",
            *rows,
            ", ".join(reader.labels(scratch / "labels.pdf")) if reader.labels else "-",
            reader.title(headed.path) if reader.title else "-",
            outcome(partial(reader.text, locked)),
            outcome(partial(reader.text, locked, pdfs.PASSWORD)),
            outcome(partial(reader.text, cut)),
        ]
        yield f"| {reader.name} | {' | '.join(cells)} |"
    yield ""


def _costs(installed: list[PdfReader], files: list[Path]) -> Iterator[str]:
    yield f"| PDF: ms a page | version | {' | '.join(path.name for path in files)} | ratio | MB | licence |"
    yield "| --- | --- |" + " ---: |" * (len(files) + 2) + " --- |"
    pages = [max(len(installed[0].pages(path, None)), 1) for path in files] if installed else []
    first: float | None = None
    for reader in installed:
        took = [1000 * seconds(partial(reader.text, path)) / n for path, n in zip(files, pages, strict=True)]
        first = first or sum(took)
        yield (
            f"| {reader.name} | {version(reader.package)} | {' | '.join(f'{one:.1f}' for one in took)}"
            f" | {sum(took) / first:.1f} | {megabytes([reader.package]):.1f} | {licence(reader.package)} |"
        )
    yield ""


def _as_drawn(installed: list[PdfReader], files: list[Path]) -> Iterator[str]:
    # Who typesets a text draws it in its order, and PDFium keeps that; on files of other makers it says less.
    if not files or installed[0].package != "pypdfium2":
        return
    yield f"| PDF: neighbours as they are drawn | {' | '.join(path.name for path in files)} |"
    yield "| --- |" + " ---: |" * len(files)
    lines = {path: [line for line in installed[0].text(path).splitlines() if len(line) > 1] for path in files}
    for reader in installed:
        shares = (in_order(lines[path], quietly(partial(reader.text, path))) for path in files)
        yield f"| {reader.name} | {' | '.join(f'{share:.0%}' for share in shares)} |"
    yield ""
