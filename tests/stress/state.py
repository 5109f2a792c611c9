"""What a corpus file and a file of runs must be at any time, and what they say, whatever their keys."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragqa.config import load_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import content_hash, corpus_chunking
from ragqa.errors import RagqaError
from ragqa.operations.corpus import corpus_status
from ragqa.pipeline import Pipeline
from ragqa.retrieve.fts import full_text_indexes

QUESTION = "How do I take a screenshot of a web page?"
# A component that lies between two steps of its number format may fall to either: so many of a corpus'
# vectors may differ from an undisturbed run's.
OTHER_VECTORS = 0.02

Key = tuple[Any, ...]


@dataclass
class State:
    """The contents of a corpus, by what they are about and not by row."""

    settings: Mapping[str, Any]
    documents: list[Key]
    passages: list[Key]
    full_text: list[str]
    vectors: dict[Key, bytes] = field(repr=False)

    def differences(self, other: State) -> list[str]:
        """Return a sentence for each thing in which `other` differs."""
        found = [
            f"other {name}"
            for name in ("settings", "documents", "passages", "full_text")
            if getattr(self, name) != getattr(other, name)
        ]
        if self.vectors.keys() != other.vectors.keys():
            lost, new = self.vectors.keys() - other.vectors.keys(), other.vectors.keys() - self.vectors.keys()
            found.append(f"{len(lost)} vectors lost, {len(new)} that should not be there")
        else:
            unlike = sum(other.vectors[key] != data for key, data in self.vectors.items())
            if unlike > OTHER_VECTORS * len(self.vectors):
                found.append(f"{unlike} of {len(self.vectors)} vectors have other values")
        return found


def copied(path: Path, to: Path) -> Path:
    """Copy a database as a crash left it, with its log, so that looking at it changes nothing."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    for name in (path.name, f"{path.name}-wal", f"{path.name}-journal"):
        if path.with_name(name).exists():
            shutil.copy(path.with_name(name), to / name)
    plaid = path.with_name(f"{path.name}.plaid")
    if plaid.exists():
        shutil.copytree(plaid, to / plaid.name)
    return to / path.name


def read_state(path: Path) -> State:
    """Return what the corpus at `path` says."""
    with Corpus.open(path) as corpus:
        execute = corpus.connection.execute
        settings = {name: json.loads(value) for name, value in execute("SELECT name, value FROM settings")}
        # The folder of an index has a new name each time.
        settings["plaid"] = sorted(settings.get("plaid") or ())
        documents = execute(
            "SELECT id, title, text, format, source, metadata, origin, content_hash"
            " FROM documents ORDER BY id"
        ).fetchall()
        passages = execute(
            "SELECT d.id, ordinal, start, end, p.title, headings, p.text FROM passages p"
            " JOIN documents d ON d.rowid = p.document ORDER BY d.id, ordinal"
        ).fetchall()
        vectors: dict[Key, bytes] = {}
        for table in ("token_vectors", "dense_vectors"):
            rows = execute(
                f"SELECT e.fingerprint, d.id, p.ordinal, p.text, v.data FROM {table} v"
                " JOIN encoders e ON e.rowid = v.encoder JOIN passages p ON p.rowid = v.passage"
                " JOIN documents d ON d.rowid = p.document"
            )
            vectors |= {(table, *key): data for *key, data in rows}
        full_text = sorted(index["table"] for index in full_text_indexes(corpus))
    return State(settings, documents, passages, full_text, vectors)


def faults(path: Path, config: str = "default", question: str = QUESTION) -> list[str]:
    """Return what is wrong with the corpus at `path`, as a reader and SQLite see it.

    The reader searches by `config` for a question that something is to be found for.

    Looks at it as a user first: reading may mend what a check of the file alone would find.
    """
    try:
        with Corpus.open(path) as corpus:
            found = _rows(corpus)
            status = corpus_status(corpus)
            found += [
                f"more of {one['model']} than passages" for one in _models(status) if one["missing"] < 0
            ]
            documents = corpus.count("documents")
        if documents:
            found += _search(path, config, question)
    except (RagqaError, sqlite3.Error) as error:
        return [f"a reader is told: {error}"]
    return found + database_faults(path)


def database_faults(path: Path) -> list[str]:
    """Return what SQLite itself finds wrong with a file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        rows = connection.execute("PRAGMA integrity_check").fetchall()
        found = [f"integrity_check: {row[0]}" for row in rows if row[0] != "ok"]
        found += [f"foreign key: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%fts5%'"
        ).fetchall()
        for (table,) in tables:
            found += _full_text(connection, table)
    return found


def _full_text(connection: sqlite3.Connection, table: str) -> list[str]:
    found = []
    try:
        # With a rank of 1, FTS5 compares its index with the passages themselves.
        connection.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")
    except sqlite3.DatabaseError as error:
        found.append(f"{table}: {error}")
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE ? || '%'"
    (triggers,) = connection.execute(query, [table]).fetchone()
    if triggers != 3:
        found.append(f"{table} has {triggers} triggers")
    return found


def _models(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*status["encoders"], *status["embedders"]]


def _rows(corpus: Corpus) -> list[str]:
    """Return what the tables say that cannot be."""
    found = []
    for table in ("token_vectors", "dense_vectors"):
        for column, of in (("passage", "passages"), ("encoder", "encoders")):
            query = f"SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT rowid FROM {of})"
            (orphans,) = corpus.connection.execute(query).fetchone()
            if orphans:
                found.append(f"{orphans} rows of {table} without {column}")
    query = "SELECT count(*) FROM passages WHERE document NOT IN (SELECT rowid FROM documents)"
    if corpus.connection.execute(query).fetchone()[0]:
        found.append("passages without document")
    query = (
        "SELECT d.id FROM documents d LEFT JOIN passages p ON p.document = d.rowid GROUP BY d.rowid"
        " HAVING count(p.rowid) != coalesce(max(p.ordinal) + 1, 0) OR count(p.rowid) = 0"
    )
    found += [f"passages of {row[0]} are not whole" for row in corpus.connection.execute(query)]
    for document_id, digest in corpus.connection.execute("SELECT id, content_hash FROM documents").fetchall():
        document = corpus.document(document_id)
        if document is None or content_hash(document) != digest:
            found.append(f"{document_id} is not what its hash says")
    return found


def _search(path: Path, config: str, question: str) -> list[str]:
    with Corpus.open(path) as corpus:
        chunk = corpus_chunking(corpus)
    # However the corpus is cut: a config that wants it otherwise refuses.
    loaded = load_config(config)
    with Pipeline.from_config(loaded.model_copy(update={"chunk": chunk or loaded.chunk}), path) as pipeline:
        hits = pipeline.search(question, 5).hits
        there = pipeline.corpus.passages([hit.passage.rowid for hit in hits])
    if not hits:
        return ["a search finds nothing"]
    return [] if [hit.passage for hit in hits] == there else ["a search finds what is not there"]


def read_runs(path: Path) -> list[Key]:
    """Return the results in a file of runs, times and numbers of rows apart."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT r.config_name, r.model, r.index_bytes, q.id, q.question, s.status, s.ranking, s.answer,"
            " s.refused, s.cited, s.context FROM runs r JOIN questions q USING (question_set)"
            " LEFT JOIN results s ON s.run = r.id AND s.place = q.place"
            " ORDER BY r.config_name, r.id, q.place"
        ).fetchall()
    return [(*row[:6], _places(row[6]), *row[7:]) for row in rows]


def _places(ranking: str | None) -> list[str]:
    """Return the passages of a stored ranking, whose scores may differ in their last digits."""
    return [passage for _, passage, *_ in json.loads(ranking or "[]")]
