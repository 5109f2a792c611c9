"""The files that documents were read from: a PDF to be opened at the page that is cited."""

from __future__ import annotations

from pathlib import Path

from ragqa.service.catalog import NotThereError
from ragqa.service.reading import reading
from ragqa.sources.pdf_page import can_draw, draw
from ragqa.types import Passage

_PDF = b"%PDF-"


def has_page(passage: Passage) -> bool:
    """Tell whether the page that a passage stands on can be shown."""
    return (
        passage.place is not None
        and passage.place.kind == "page"
        and _pdf(passage) is not None
        and can_draw()
    )


def original(db: Path | str | None, passage_id: str) -> tuple[Path, Passage]:
    """Return the PDF that a passage of the corpus was read from; raises NotThereError where it is none.

    No other file is ever given out, whatever a corpus says its sources are.
    """
    document_id, _, ordinal = passage_id.encode("utf-8", "replace").decode().rpartition("#")
    with reading(db) as corpus:
        row = corpus.connection.execute(
            "SELECT p.rowid FROM passages p JOIN documents d ON d.rowid = p.document"
            " WHERE d.id = ? AND p.ordinal = ?",
            [document_id, int(ordinal) if ordinal.isdecimal() and len(ordinal) < 10 else -1],
        ).fetchone()
        found = corpus.passages([row[0]]) if row else []
    path = _pdf(found[0]) if found else None
    if path is None:
        raise NotThereError(f"There is no PDF of {passage_id!r}.")
    return path, found[0]


def page_picture(db: Path | str | None, passage_id: str) -> bytes:
    """Return the page that a passage stands on as a PNG, its lines marked; raises what `original` raises."""
    path, passage = original(db, passage_id)
    if not has_page(passage) or passage.place is None:
        raise NotThereError(f"There is no page of {passage_id!r}.")
    return draw(path, passage.place.label, passage.text)


def _pdf(passage: Passage) -> Path | None:
    try:
        path = Path(passage.source)
        if path.suffix.lower() != ".pdf" or not path.is_file():
            return None
        with path.open("rb") as opened:
            return path.resolve() if opened.read(len(_PDF)) == _PDF else None
    except (OSError, ValueError):
        return None
