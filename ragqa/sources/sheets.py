"""Excel and OpenDocument spreadsheets: sheet by sheet, a line for each row."""

from __future__ import annotations

from collections.abc import Iterator

from ragqa.sources.loader import File
from ragqa.sources.ole import refuse_encrypted
from ragqa.sources.parts import Section, joined
from ragqa.sources.source import Item
from ragqa.sources.tables import said
from ragqa.sources.text import UnreadableError, clean_title


def read(file: File) -> Iterator[Item]:
    """Yield a workbook's document; raises UnreadableError for a damaged or encrypted one."""
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    if file.path.suffix.lower() != ".xls":
        refuse_encrypted(file)
    try:
        with CalamineWorkbook.from_path(file.path) as book:
            sections = [_sheet(book.get_sheet_by_name(name), name) for name in book.sheet_names]
    except PasswordError as error:
        raise UnreadableError("encrypted") from error
    except (CalamineError, ValueError, OSError) as error:
        raise UnreadableError("damaged (no workbook)") from error
    yield joined(file, "sheet", sections, format="text")


def _sheet(sheet: object, name: str) -> Section:
    # Rows as they are numbered in the sheet, those above the first with something in it too.
    text, _, first = said(sheet.iter_rows())  # type: ignore[attr-defined]
    label = clean_title(name)
    return Section(label, text, (label,), first)
