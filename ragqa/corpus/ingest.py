"""From loaded documents to stored passages: only what is new or changed is written."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ragqa.config import ChunkSettings
from ragqa.corpus.chunking import VERSION, Chunker, Piece
from ragqa.corpus.database import Corpus
from ragqa.corpus.places import write_parts, write_place
from ragqa.errors import UsageError
from ragqa.sources.source import DATES, Skipped, Source, UnderWay
from ragqa.types import Document

COMMIT_EVERY_S = 2.0


@dataclass
class IngestReport:
    """What one run did, document by document; `skipped` says what was not read and why.

    `left_out` counts what was not looked at, by why. `under_way` says how far the reading of a long file is.
    `prune_refused` says that a source could not be read whole, so that nothing of it was pruned.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    pruned: int = 0
    prune_refused: bool = False
    skipped: list[Skipped] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    under_way: str = ""

    @property
    def seen(self) -> int:
        return self.added + self.replaced + self.unchanged + len(self.skipped)

    def as_json(self) -> dict[str, Any]:
        """Return the report as `ingest --json` prints it."""
        counts = {name: getattr(self, name) for name in ("added", "replaced", "unchanged", "pruned")}
        skipped = [{"name": item.name, "reason": item.reason, "kind": item.kind} for item in self.skipped]
        left_out = dict(self.left_out)
        return {**counts, "prune_refused": self.prune_refused, "skipped": skipped, "left_out": left_out}

    def not_read(self) -> str:
        """Return how many were not read and for what, the kinds of files first; "" where all were."""
        kinds = Counter((item.kind, item.reason) for item in self.skipped)
        said = [
            f"{count:,} {kind} ({reason})" if kind else f"{count:,} {reason}"
            for (kind, reason), count in sorted(kinds.items(), key=lambda entry: (not entry[0][0], -entry[1]))
        ]
        return f"{len(self.skipped):,} not read: {', '.join(said)}" if said else ""

    def not_looked_at(self) -> str:
        """Return how many files and folders were left out for what; "" where none was."""
        said = [f"{count:,} {reason}" for reason, count in self.left_out.most_common()]
        return f"Left out: {', '.join(said)}" if said else ""

    def skipped_lines(self, examples: int | None = 5) -> list[str]:
        """Return a line per reason: how many were skipped for it, and the first few by name; None: all."""
        by_reason: dict[str, list[str]] = {}
        for item in self.skipped:
            by_reason.setdefault(f"{item.kind} ({item.reason})" if item.kind else item.reason, []).append(
                item.name
            )
        lines = []
        for reason, names in sorted(by_reason.items(), key=lambda entry: -len(entry[1])):
            shown = names if examples is None else names[:examples]
            more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
            lines.append(f"{len(names):,} skipped, {reason}: {', '.join(shown)}{more}")
        return lines


def ingest(
    corpus: Corpus,
    sources: Iterable[Source],
    chunk: ChunkSettings,
    *,
    prune: bool = False,
    take_over: bool = False,
    on_document: Callable[[IngestReport], None] = lambda report: None,
) -> IngestReport:
    """Store what `sources` hold and return what was done.

    A document whose content hash is unchanged is left alone; a changed one keeps the passages that
    did not change, with everything computed from them. Commits every two seconds, so that a killed
    run loses no more than that and the next one goes on. `prune` deletes documents that came from
    these sources before and are gone from them now. An id that another source uses is skipped
    unless `take_over`.
    """
    report = IngestReport()
    with corpus.writing():
        _settle_chunking(corpus, chunk)
        writer = _Writer(corpus, Chunker(chunk.tokens, chunk.overlap), report, take_over)
        for source in sources:
            seen: set[str] = set()
            complete = writer.take(source, seen, on_document)
            report.left_out.update(source.left_out)
            report.prune_refused |= prune and not (complete and source.whole)
            if prune and complete and source.whole:
                report.pruned += _prune(corpus, source.origin, seen)
    return report


def corpus_chunking(corpus: Corpus) -> ChunkSettings | None:
    """Return how this corpus is cut, or None when nothing was ever ingested."""
    stored = corpus.setting("chunk")
    return None if stored is None else ChunkSettings(tokens=stored["tokens"], overlap=stored["overlap"])


def is_cut(corpus: Corpus, chunk: ChunkSettings) -> bool:
    """Tell whether the corpus is cut as `chunk` says, by today's chunker."""
    return bool(corpus.setting("chunk") == _cutting(chunk))


def check_chunking(corpus: Corpus, chunk: ChunkSettings) -> None:
    """Raise UsageError when the corpus is cut otherwise than the config wants."""
    stored = corpus_chunking(corpus)
    if stored is None or is_cut(corpus, chunk):
        return
    if stored == chunk:
        raise UsageError(
            f"The corpus {corpus.path} was cut by another version of ragqa: "
            "ragqa index --rechunk -c CONFIG cuts it again."
        )
    raise UsageError(
        f"The corpus {corpus.path} is cut into passages of {stored.tokens} tokens "
        f"(overlap {stored.overlap}), and this config wants {chunk.tokens} (overlap {chunk.overlap}): "
        "ragqa index --rechunk -c CONFIG cuts it again."
    )


def rechunk_documents(
    corpus: Corpus, chunk: ChunkSettings, on_document: Callable[[int], None] = lambda done: None
) -> int:
    """Cut every stored document again as `chunk` says, in one transaction; return how many."""
    with corpus.writing(), corpus.transaction():
        corpus.set_setting("chunk", _cutting(chunk))
        chunker = Chunker(chunk.tokens, chunk.overlap)
        rows = corpus.connection.execute("SELECT rowid, id FROM documents").fetchall()
        for done, (rowid, document_id) in enumerate(rows, 1):
            document = corpus.document(document_id)
            if document is not None:
                _store_passages(corpus, rowid, document, chunker.pieces(document))
            on_document(done)
        return len(rows)


def content_hash(document: Document) -> str:
    """Return the SHA-256 of everything that a document says of itself.

    Where it has no date of its own, when it was modified is its file's time, and no part of it.
    """
    metadata = dict(document.metadata)
    if not DATES & metadata.keys():
        metadata.pop("modified", None)
    return _hash(document, metadata)


def _hash(document: Document, metadata: Mapping[str, Any]) -> str:
    parts = [document.title, document.text, document.source, document.format, dict(metadata)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class _Writer:
    """Writes the documents of one ingest run, in transactions of about two seconds."""

    def __init__(self, corpus: Corpus, chunker: Chunker, report: IngestReport, take_over: bool) -> None:
        self.corpus = corpus
        self.chunker = chunker
        self.report = report
        self.take_over = take_over

    def take(self, source: Source, seen: set[str], on_document: Callable[[IngestReport], None]) -> bool:
        """Store what `source` yields, adding its ids to `seen`; return whether all of it could be read."""
        items = iter(source.items)
        complete = True
        more = True
        while more:
            with self.corpus.transaction():
                deadline = time.monotonic() + COMMIT_EVERY_S
                while time.monotonic() < deadline:
                    item = next(items, None)
                    if item is None:
                        more = False
                        break
                    self.report.under_way = str(item) if isinstance(item, UnderWay) else ""
                    if isinstance(item, Skipped):
                        complete = complete and not item.unread
                        self.report.skipped.append(item)
                    elif isinstance(item, Document):
                        self._document(item, source.origin, seen)
                    on_document(self.report)
        return complete

    def _document(self, document: Document, origin: str, seen: set[str]) -> None:
        if document.id in seen:
            self.report.skipped.append(Skipped(document.id, "duplicate id: the first one is kept"))
            return
        seen.add(document.id)
        row = self.corpus.connection.execute(
            "SELECT rowid, content_hash, origin, metadata, parts FROM documents WHERE id = ?", [document.id]
        ).fetchone()
        digest = content_hash(document)
        if row and row[2] != origin and not self.take_over:
            reason = f"its id belongs to a document from {row[2]} (--id-prefix or --take-over)"
            self.report.skipped.append(Skipped(document.id, reason))
        # The second: a file's time once was hashed with what it says.
        elif row and row[2] == origin and (row[1] == digest or row[1] == _hash(document, document.metadata)):
            metadata = _metadata(document)
            parts = write_parts(document.parts)
            if (row[1], row[3], row[4]) != (digest, metadata, parts):
                query = "UPDATE documents SET metadata = ?, content_hash = ?, parts = ? WHERE rowid = ?"
                self.corpus.connection.execute(query, [metadata, digest, parts, row[0]])
            if row[4] != parts:
                _store_passages(self.corpus, row[0], document, self.chunker.pieces(document))
            self.report.unchanged += 1
        else:
            rowid = self._write(document, digest, origin)
            _store_passages(self.corpus, rowid, document, self.chunker.pieces(document))
            if row:
                self.report.replaced += 1
            else:
                self.report.added += 1

    def _write(self, document: Document, digest: str, origin: str) -> int:
        values = {
            "id": document.id,
            "title": document.title,
            "text": document.text,
            "format": document.format,
            "source": document.source,
            "metadata": _metadata(document),
            "origin": origin,
            "content_hash": digest,
            "ingested_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "parts": write_parts(document.parts),
        }
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        updates = ", ".join(f"{name} = excluded.{name}" for name in values if name != "id")
        cursor = self.corpus.connection.execute(
            f"INSERT INTO documents ({names}) VALUES ({marks})"
            f" ON CONFLICT (id) DO UPDATE SET {updates} RETURNING rowid",
            values,
        )
        return int(cursor.fetchone()[0])


def _metadata(document: Document) -> str:
    return json.dumps(dict(document.metadata), ensure_ascii=False)


def _cutting(chunk: ChunkSettings) -> dict[str, int]:
    return {**chunk.model_dump(), "version": VERSION}


def _settle_chunking(corpus: Corpus, chunk: ChunkSettings) -> None:
    check_chunking(corpus, chunk)
    if corpus_chunking(corpus) is None:
        with corpus.transaction():
            corpus.set_setting("chunk", _cutting(chunk))


def _store_passages(corpus: Corpus, document_rowid: int, document: Document, pieces: list[Piece]) -> None:
    """Make the stored passages of a document equal to `pieces`, keeping the rows whose words are the same."""
    old: dict[tuple[str, str, str], list[int]] = {}
    for rowid, *key in corpus.connection.execute(
        "SELECT rowid, title, headings, text FROM passages WHERE document = ? ORDER BY ordinal DESC",
        [document_rowid],
    ):
        old.setdefault((key[0], key[1], key[2]), []).append(rowid)
    for ordinal, piece in enumerate(pieces):
        headings, place = "\n".join(piece.headings), write_place(piece.place)
        same = old.get((document.title, headings, piece.text))
        if same:
            corpus.connection.execute(
                "UPDATE passages SET ordinal = ?, start = ?, end = ?, place = ? WHERE rowid = ?",
                [ordinal, piece.start, piece.end, place, same.pop()],
            )
        else:
            corpus.connection.execute(
                "INSERT INTO passages (document, ordinal, start, end, title, headings, text, place)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    document_rowid,
                    ordinal,
                    piece.start,
                    piece.end,
                    document.title,
                    headings,
                    piece.text,
                    place,
                ],
            )
    gone = [[rowid] for rowids in old.values() for rowid in rowids]
    corpus.connection.executemany("DELETE FROM passages WHERE rowid = ?", gone)


def _prune(corpus: Corpus, origin: str, seen: set[str]) -> int:
    rows = corpus.connection.execute("SELECT id FROM documents WHERE origin = ?", [origin])
    return corpus.remove([document_id for (document_id,) in rows if document_id not in seen])
