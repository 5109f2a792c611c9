"""An embedding collection that `llm embed-multi --store` made, searched where it lies."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel

from ragqa.config import MAX_DOCUMENT, Strict
from ragqa.encoders.tokens import Vectors
from ragqa.errors import RagqaError, UsageError, unknown_name
from ragqa.index.best import best
from ragqa.language.stopwords import ENGLISH
from ragqa.retrieve.foreign import foreign_hits
from ragqa.search.contracts import Resources
from ragqa.sources.sqlite import FAILURES, open_read_only
from ragqa.sources.text import clean, clean_title, jsonable
from ragqa.types import Document, Hit

STAGE = "llm-collection"


class LlmCollectionSettings(Strict):
    """`collection` is one of `llm collections`; `database` is llm's own embeddings.db by default."""

    collection: str
    database: Path | None = None


class LlmCollectionRetriever:
    """The first stage `llm-collection`. Scores are cosines; nothing is copied."""

    Settings: ClassVar[type[BaseModel]] = LlmCollectionSettings
    foreign = True

    def __init__(self, settings: LlmCollectionSettings, resources: Resources) -> None:
        self.settings = settings
        self.chunk = resources.chunk

    @cached_property
    def _path(self) -> Path:
        import llm

        return (self.settings.database or llm.user_dir() / "embeddings.db").expanduser()

    @cached_property
    def _connection(self) -> sqlite3.Connection:
        if not self._path.is_file():
            raise UsageError(f"There is no database of llm embeddings at {self._path}.")
        connection = open_read_only(self._path)
        names = "SELECT name FROM sqlite_master WHERE type = 'table'"
        tables = {row[0] for row in self._rows(connection, names)}
        if not {"collections", "embeddings"} <= tables:
            raise UsageError(f"{self._path} has no llm embeddings in it.")
        return connection

    @cached_property
    def _collection(self) -> tuple[int, str]:
        rows = self._rows(self._connection, "SELECT name, id, model FROM collections")
        known = {str(name): (number, model) for name, number, model in rows}
        if self.settings.collection not in known:
            raise unknown_name("llm collection", self.settings.collection, known or ["none"])
        return known[self.settings.collection]

    def _rows(self, connection: sqlite3.Connection, sql: str, *values: Any) -> list[Any]:
        try:
            return connection.execute(sql, values).fetchall()
        except FAILURES as error:
            raise RagqaError(f"{self._path} cannot be read: {clean(str(error))}.") from error

    def search(self, query: str, k: int) -> list[Hit]:
        import llm

        number, model_id = self._collection
        rows = self._rows(
            self._connection,
            "SELECT id, embedding, content, metadata FROM embeddings"
            " WHERE collection_id = ? AND content IS NOT NULL ORDER BY id",
            number,
        )
        if not rows:
            raise RagqaError(
                f"The llm collection {self.settings.collection!r} holds no texts: "
                "llm embed-multi --store keeps them."
            )
        try:
            model = llm.get_embedding_model(model_id)
            question = np.asarray(model.embed(query), np.float32)
        except Exception as error:  # an embedding model is anybody's code
            raise RagqaError(f"The embedding model {model_id} failed: {error}") from error
        try:
            vectors = np.frombuffer(b"".join(row[1] for row in rows), "<f4").reshape(len(rows), -1)
            scores = _cosine(vectors, question)
        except (ValueError, TypeError) as error:
            raise RagqaError(
                f"The vectors of the llm collection {self.settings.collection!r} are not those of its "
                f"model {model_id}: {error}."
            ) from error
        # What lies in the database may be no number, and has no place in a ranking then.
        scores = np.nan_to_num(scores, nan=-1.0, posinf=-1.0, neginf=-1.0)
        places = best(scores, k)
        found = [(self._document(rows[place]), float(scores[place])) for place in places]
        return foreign_hits(found, query, k, STAGE, ENGLISH, self.chunk)

    def _document(self, row: tuple[str, bytes, str, str | None]) -> Document:
        document_id, _, content, metadata = row
        try:
            loaded = json.loads(metadata or "{}")
        except (ValueError, TypeError, RecursionError):
            loaded = {}
        values = jsonable(loaded) if isinstance(loaded, dict) else {}
        source = f"{self._path.name} {self.settings.collection}"
        title = clean_title(str(values.get("title", "")))
        text = clean(str(content)[:MAX_DOCUMENT])
        return Document(clean(str(document_id)), title, text, clean(source), values)

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self.search(query, k) for query in queries]


def _cosine(vectors: Vectors, question: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(question)
    cosines: Vectors = (vectors @ question) / np.maximum(lengths, 1e-12)
    return cosines
