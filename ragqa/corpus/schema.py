"""The tables of a corpus file and the migrations that made them. No reading or writing of rows here."""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("ragqa")


@migrations()
def m001_corpus(db: Database) -> None:
    """Documents, their passages, encoders, and the token vectors those made."""
    for statement in _M001:
        db.execute(statement)


@migrations()
def m002_dense_vectors(db: Database) -> None:
    """One vector per passage and encoder, apart from the token vectors so that all are read in one sweep."""
    for statement in _M002:
        db.execute(statement)


@migrations()
def m003_pooled_tokens(db: Database) -> None:
    """Which vector stands for each token of a passage, where several tokens share one."""
    db.execute("ALTER TABLE token_vectors ADD COLUMN members BLOB")


@migrations()
def m004_places(db: Database) -> None:
    """The parts of a document (pages, slides, lines), and where in them each passage stands, as JSON."""
    # Killed between the two, it begins anew.
    for table, column in (("documents", "parts"), ("passages", "place")):
        if column not in db[table].columns_dict:
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT")


_M001 = (
    # What the corpus was made with: today the chunking. One JSON value per name.
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE documents (
        rowid INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        text TEXT NOT NULL,
        format TEXT NOT NULL CHECK (format IN ('markdown', 'text')),
        source TEXT NOT NULL,
        metadata TEXT NOT NULL,
        origin TEXT NOT NULL,
        content_hash TEXT NOT NULL,
        ingested_at TEXT NOT NULL
    )""",
    "CREATE INDEX documents_origin ON documents (origin)",
    """CREATE TABLE passages (
        rowid INTEGER PRIMARY KEY AUTOINCREMENT,
        document INTEGER NOT NULL REFERENCES documents (rowid) ON DELETE CASCADE,
        ordinal INTEGER NOT NULL,
        start INTEGER NOT NULL,
        end INTEGER NOT NULL,
        title TEXT NOT NULL,
        headings TEXT NOT NULL,
        text TEXT NOT NULL
    )""",
    "CREATE INDEX passages_document ON passages (document, ordinal)",
    # One row per encoder whose vectors are stored; the fingerprint names model, weights, lengths, codec.
    """CREATE TABLE encoders (
        rowid INTEGER PRIMARY KEY,
        fingerprint TEXT NOT NULL UNIQUE,
        description TEXT NOT NULL
    )""",
    """CREATE TABLE token_vectors (
        rowid INTEGER PRIMARY KEY,
        passage INTEGER NOT NULL REFERENCES passages (rowid) ON DELETE CASCADE,
        encoder INTEGER NOT NULL REFERENCES encoders (rowid) ON DELETE CASCADE,
        tokens INTEGER NOT NULL,
        data BLOB NOT NULL,
        UNIQUE (encoder, passage)
    )""",
    "CREATE INDEX token_vectors_passage ON token_vectors (passage)",
)

_M002 = (
    """CREATE TABLE dense_vectors (
        rowid INTEGER PRIMARY KEY,
        passage INTEGER NOT NULL REFERENCES passages (rowid) ON DELETE CASCADE,
        encoder INTEGER NOT NULL REFERENCES encoders (rowid) ON DELETE CASCADE,
        data BLOB NOT NULL,
        UNIQUE (encoder, passage)
    )""",
    "CREATE INDEX dense_vectors_passage ON dense_vectors (passage)",
)
