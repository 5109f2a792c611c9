"""Corpora of any size: real passages, and then ones made of their texts and vectors.

A made passage has the first half of the sentences of one passage and the second half of another, and as
its vectors those of the first with noise: dense vectors lie as far from a real one as real neighbours do,
token vectors nearer. They stand for size and say nothing about quality.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragqa.answer.sentences import split_sentences
from ragqa.corpus.database import Corpus
from ragqa.index.dense_matrix import DenseMatrix
from ragqa.index.dense_store import DenseStore
from ragqa.index.quantise import Codec, decode, encode

# Length of the noise that a made vector gets, its own length being 1.
DENSE_NOISE, TOKEN_NOISE = 0.6, 0.3
# Passages that are made, and written, at a time.
BLOCK = 5000


class Grower:
    """Makes corpora out of the passages of `source`, whose dense vectors are those of `dense`."""

    def __init__(self, source: Corpus, dense: DenseStore, tokens: tuple[int, int, Codec] | None) -> None:
        """Take the source's rows; `tokens` are the encoder's key there, its dimensions and its codec."""
        self.source = source
        self.dense = dense
        self.tokens = tokens
        self.matrix: DenseMatrix = dense.matrix()
        self.rng = np.random.default_rng(0)

    def grow(self, path: Path, size: int, *, with_tokens: bool) -> None:
        """Write a corpus of `size` passages: as many real ones as there are, and made ones after them."""
        real = self.source.count("passages")
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        with Corpus.open(part, create=True) as corpus:
            # Every n-th of the real ones where there are too many.
            chosen = f"rowid % {real // size} = 0" if size < real else "1"
            _copy(corpus, self.source.path, chosen, size, with_tokens)
            for start in range(real, size, BLOCK):
                with corpus.writing(), corpus.transaction():
                    self._make(corpus.connection, start, min(BLOCK, size - start), with_tokens)
        part.replace(path)

    def _make(self, connection: sqlite3.Connection, start: int, count: int, with_tokens: bool) -> None:
        """Write `count` made passages, each a document of its own."""
        firsts, seconds = (self.rng.integers(len(self.matrix.rowids), size=count) for _ in range(2))
        texts = self._texts({int(place) for place in (*firsts, *seconds)})
        document = 1 + connection.execute("SELECT coalesce(max(rowid), 0) FROM documents").fetchone()[0]
        passage = 1 + connection.execute("SELECT coalesce(max(rowid), 0) FROM passages").fetchone()[0]
        documents, passages = [], []
        for offset, (first, second) in enumerate(zip(firsts.tolist(), seconds.tolist(), strict=True)):
            title, metadata, text = texts[first]
            made = f"{_half(text, 0)} {_half(texts[second][2], 1)}"
            name = f"made/{start + offset}"
            documents.append((document + offset, name, title, made, metadata, name))
            passages.append((passage + offset, document + offset, len(made), title, made))
        connection.executemany(
            "INSERT INTO documents (rowid, id, title, text, format, source, metadata, origin, content_hash,"
            " ingested_at) VALUES (?, ?, ?, ?, 'text', 'made', ?, 'made', ?, '')",
            documents,
        )
        connection.executemany(
            "INSERT INTO passages (rowid, document, ordinal, start, end, title, headings, text)"
            " VALUES (?, ?, 0, 0, ?, ?, '', ?)",
            passages,
        )
        rowids = [row[0] for row in passages]
        self._vectors(connection, rowids, firsts)
        if with_tokens and self.tokens is not None:
            self._token_vectors(connection, rowids, firsts)

    def _texts(self, places: set[int]) -> dict[int, tuple[str, str, str]]:
        """Return title, metadata and text of the real passages at these places of the matrix."""
        rowids = {self.matrix.rowids[place]: place for place in places}
        return {
            rowids[passage.rowid]: (passage.title, json.dumps(dict(passage.metadata)), passage.text)
            for passage in self.source.passages(list(rowids))
        }

    def _vectors(self, connection: sqlite3.Connection, rowids: list[int], places: NDArray[np.int64]) -> None:
        made = _noisy(self.matrix.vectors(places.tolist()), DENSE_NOISE, self.rng)
        encoder = self.dense.encoder_row()
        packed = self.dense.pack(made)
        connection.executemany(
            "INSERT INTO dense_vectors (passage, encoder, data) VALUES (?, ?, ?)",
            [(rowid, encoder, data) for rowid, data in zip(rowids, packed, strict=True)],
        )

    def _token_vectors(
        self, connection: sqlite3.Connection, rowids: list[int], places: NDArray[np.int64]
    ) -> None:
        assert self.tokens is not None
        encoder, dimensions, codec = self.tokens
        rows = []
        for rowid, place in zip(rowids, places.tolist(), strict=True):
            tokens, data, members = self.source.connection.execute(
                "SELECT tokens, data, members FROM token_vectors WHERE encoder = ? AND passage = ?",
                [encoder, self.matrix.rowids[place]],
            ).fetchone()
            noisy = _noisy(decode([data], [tokens], dimensions, codec), TOKEN_NOISE, self.rng)
            rows.append((rowid, encoder, tokens, encode(noisy, codec), members))
        connection.executemany(
            "INSERT INTO token_vectors (passage, encoder, tokens, data, members) VALUES (?, ?, ?, ?, ?)", rows
        )


def copy_collection(source: Path, path: Path, prefix: str) -> None:
    """Write a corpus of the documents whose ids begin with `prefix`, with all their vectors."""
    path.unlink(missing_ok=True)
    documents = "SELECT rowid FROM real.documents WHERE substr(id, 1, ?) = ?"
    with Corpus.open(path, create=True) as corpus:
        _copy(corpus, source, f"document IN ({documents})", -1, True, len(prefix), prefix)


def _copy(
    corpus: Corpus, source: Path, chosen: str, most: int, with_tokens: bool, *values: str | int
) -> None:
    """Copy passages, at most so many (-1: all), with their documents and vectors, out of another corpus."""
    connection = corpus.connection
    connection.execute("ATTACH DATABASE ? AS real", [str(source)])
    with corpus.writing(), corpus.transaction():
        connection.execute("INSERT OR REPLACE INTO settings SELECT * FROM real.settings")
        connection.execute("INSERT INTO encoders SELECT * FROM real.encoders")
        passages = f"SELECT * FROM real.passages WHERE {chosen} ORDER BY rowid LIMIT ?"
        kept = connection.execute(passages, [*values, most]).fetchall()
        wanted = sorted({row[1] for row in kept})
        connection.execute(
            "INSERT INTO documents SELECT * FROM real.documents"
            " WHERE rowid IN (SELECT value FROM json_each(?))",
            [json.dumps(wanted)],
        )
        marks = ", ".join("?" * len(kept[0])) if kept else "NULL"
        connection.executemany(f"INSERT INTO passages VALUES ({marks})", kept)
        for table in ("dense_vectors", *(["token_vectors"] if with_tokens else [])):
            connection.execute(
                f"INSERT INTO {table} SELECT * FROM real.{table} WHERE passage IN"
                " (SELECT rowid FROM passages)"
            )
    connection.execute("DETACH DATABASE real")


def _noisy(vectors: NDArray[np.float32], length: float, rng: np.random.Generator) -> NDArray[np.float32]:
    noise = rng.standard_normal(vectors.shape, np.float32) * (length / np.sqrt(vectors.shape[1]))
    made = vectors + noise
    unit: NDArray[np.float32] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def _half(text: str, which: int) -> str:
    spans = list(split_sentences(text))
    middle = (len(spans) + 1) // 2
    kept: Iterator[tuple[int, int]] = iter(spans[:middle] if which == 0 else spans[middle:])
    return " ".join(text[start:end] for start, end in kept)
