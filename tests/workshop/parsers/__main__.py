"""`python -m tests.workshop.parsers [FOLDER]`: what libraries make of documents, as tables in Markdown.

What is installed is compared, the rest is listed. FOLDER holds documents of one's own, read in place; those
with known content are generated, with reportlab, pypdf and pikepdf, python-pptx, openpyxl and odfdo.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ragqa.cli.run import run
from tests.workshop.parsers.measure import version
from tests.workshop.parsers.ocr_table import ocr_table
from tests.workshop.parsers.office_readers import office_readers
from tests.workshop.parsers.office_tables import office_tables
from tests.workshop.parsers.pdf_readers import pdf_readers
from tests.workshop.parsers.pdf_tables import pdf_tables


def compare(
    folder: Annotated[Path | None, typer.Argument(help="Documents of one's own.", exists=True)] = None,
) -> None:
    """Print the tables of PDF, of other documents and of OCR."""
    with tempfile.TemporaryDirectory() as scratch:
        nothing = Path(scratch) / "none"
        nothing.mkdir()
        for table in (pdf_tables, office_tables, ocr_table):
            try:
                for line in table(folder or nothing, Path(scratch)):
                    print(line, flush=True)
            except ModuleNotFoundError as error:
                print(f"A table is left out, its documents are made with {error.name}.\n")
    for line in _missing():
        print(line)


def _missing() -> Iterator[str]:
    packages = {one.package for one in pdf_readers()} | {one.package for one in office_readers()}
    absent = sorted(package for package in packages | {"rapidocr"} if package and not version(package))
    if absent:
        yield f"Not installed: {', '.join(absent)}."


if __name__ == "__main__":
    run(lambda: typer.run(compare))
