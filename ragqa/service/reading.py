"""Reading documents of a corpus, page by page. Each call opens the file anew, which costs a millisecond."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ragqa.corpus.database import Corpus
from ragqa.errors import UsageError
from ragqa.files import default_corpus
from ragqa.safety.untrusted import for_model
from ragqa.types import Document

# How many characters of a document are read at once: about 2,000 tokens.
PAGE = 8_000


@dataclass(frozen=True, slots=True)
class Extract:
    """A stretch of a document: `text` is `document.text[offset : offset + len(text)]`."""

    document: Document
    offset: int
    text: str

    @property
    def next_offset(self) -> int | None:
        """Where the rest begins; None where there is none."""
        end = self.offset + len(self.text)
        return end if end < len(self.document.text) else None


@contextmanager
def reading(db: Path | str | None) -> Iterator[Corpus]:
    """Open the corpus at `db` (the user's own by default) as it is at one moment.

    What another process writes meanwhile is not seen: a document and its passages belong together.
    """
    with Corpus.open(default_corpus() if db is None else db) as corpus, corpus.snapshot():
        yield corpus


def read(db: Path | str | None, document_id: str, offset: int | None = None) -> Extract:
    """Return a page of a document from `offset`, in characters.

    The id may be a passage's, as hits have it; without an `offset` the page then begins at the
    passage. Raises UsageError when there is no such document or it has no such offset.
    """
    with reading(db) as corpus:
        document, start = find_document(corpus, document_id)
    offset = start if offset is None else offset
    if not 0 <= offset <= max(len(document.text) - 1, 0):
        raise UsageError(
            f"The document {document.id!r} has {len(document.text):,} characters, "
            f"and none at offset {offset:,}."
        )
    return Extract(document, offset, _page(document.text, offset))


def find_document(corpus: Corpus, name: str) -> tuple[Document, int]:
    """Return the document with this id, or that of the passage with this id and where that begins."""
    name = name.encode("utf-8", "replace").decode("utf-8")
    document_id, _, ordinal = name.rpartition("#")
    wanted: list[tuple[str, int | None]] = [(name, None)]
    if ordinal.isdecimal() and len(ordinal) < 10:
        wanted.append((document_id, int(ordinal)))
    for find in (corpus.document, partial(_disguised, corpus)):
        for one, number in wanted:
            document = find(one)
            start = 0 if document is None or number is None else _start(corpus, document.id, number)
            if document is not None and start is not None:
                return document, start
    raise UsageError(f"There is no document {name!r}. The hits of a search have the ids of documents.")


def _disguised(corpus: Corpus, name: str) -> Document | None:
    """Return the document whose id, without what a model must not read, is `name`."""
    ids = corpus.connection.execute("SELECT id FROM documents")
    found = next((row[0] for row in ids if row[0] != name and for_model(row[0]) == name), None)
    return None if found is None else corpus.document(found)


def _start(corpus: Corpus, document_id: str, ordinal: int) -> int | None:
    query = (
        "SELECT p.start FROM passages p JOIN documents d ON d.rowid = p.document"
        " WHERE d.id = ? AND p.ordinal = ?"
    )
    row = corpus.connection.execute(query, [document_id, ordinal]).fetchone()
    return row and int(row[0])


def _page(text: str, offset: int) -> str:
    """Return about PAGE characters from `offset` on, up to the end of a line where one is near."""
    end = offset + PAGE
    if end < len(text):
        line_end = text.rfind("\n", offset + PAGE // 2, end)
        end = end if line_end < 0 else line_end + 1
    return text[offset:end]
