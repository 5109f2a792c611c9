"""The documents of a corpus, to leaf through. Each call opens the file anew, which costs a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragqa.corpus.database import Corpus
from ragqa.errors import UsageError
from ragqa.operations.corpus import corpus_status
from ragqa.service.reading import reading
from ragqa.types import Document, Passage

DOCUMENTS_PER_PAGE = 50
PASSAGES_PER_PAGE = 50


class NotThereError(UsageError):
    """What was asked for by its id is not there."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A document in a list, with how many passages it has."""

    id: str
    title: str
    source: str
    passages: int


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list, counted from 1, of `pages`; `total` is how long the whole list is."""

    items: Sequence[Any]
    page: int
    pages: int
    total: int


class Catalog:
    """The documents of the corpus at `db` (the user's own by default)."""

    def __init__(self, db: Path | str | None) -> None:
        self._db = db

    def status(self) -> dict[str, Any]:
        """Return what the corpus holds, in the documented form of `status --json`."""
        with reading(self._db) as corpus:
            return corpus_status(corpus)

    def documents(self, text: str, page: int) -> Page:
        """Return a page of the documents with `text` in their title or id, by id."""
        where = "WHERE d.id LIKE ?1 ESCAPE '\\' OR d.title LIKE ?1 ESCAPE '\\'"
        pattern = f"%{_escaped(text)}%"
        with reading(self._db) as corpus:
            (total,) = corpus.connection.execute(
                f"SELECT count(*) FROM documents d {where}", [pattern]
            ).fetchone()
            page, pages = _place(page, total, DOCUMENTS_PER_PAGE)
            rows = corpus.connection.execute(
                "SELECT d.id, d.title, d.source,"
                " (SELECT count(*) FROM passages p WHERE p.document = d.rowid)"
                f" FROM documents d {where} ORDER BY d.id LIMIT ?2 OFFSET ?3",
                [pattern, DOCUMENTS_PER_PAGE, (page - 1) * DOCUMENTS_PER_PAGE],
            )
            return Page([Listed(*row) for row in rows], page, pages, total)

    def document(self, document_id: str, page: int | None = None) -> tuple[Document, Page]:
        """Return a document with a page of its passages in their order, or with all of them.

        Raises NotThereError when there is no such document.
        """
        with reading(self._db) as corpus:
            document = _document(corpus, document_id)
            rows = corpus.connection.execute(
                "SELECT p.rowid FROM passages p JOIN documents d ON d.rowid = p.document"
                " WHERE d.id = ? ORDER BY p.ordinal",
                [document.id],
            )
            rowids = [row[0] for row in rows]
            size = max(1, len(rowids)) if page is None else PASSAGES_PER_PAGE
            number, pages = _place(page or 1, len(rowids), size)
            listed: list[Passage] = corpus.passages(rowids[(number - 1) * size : number * size])
            return document, Page(listed, number, pages, len(rowids))


def _document(corpus: Corpus, document_id: str) -> Document:
    found = corpus.document(document_id.encode("utf-8", "replace").decode("utf-8"))
    if found is None:
        raise NotThereError(f"There is no document {document_id!r}.")
    return found


def _place(page: int, total: int, size: int) -> tuple[int, int]:
    """Return which page to show, and of how many: the last one for a page beyond it."""
    pages = max(1, -(-total // size))
    return min(max(1, page), pages), pages


def _escaped(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
