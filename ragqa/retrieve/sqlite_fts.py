"""A table of somebody's own database that already has a full-text index, searched where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel

from ragqa.config import Strict
from ragqa.errors import RagqaError, UsageError
from ragqa.language.match import match_expression
from ragqa.language.stopwords import STOP_LISTS
from ragqa.retrieve.foreign import foreign_hits
from ragqa.search.contracts import Resources
from ragqa.sources.records import record_document, settle_fields
from ragqa.sources.source import Fields
from ragqa.sources.sqlite import FAILURES, open_read_only
from ragqa.sources.text import clean
from ragqa.types import Document, Hit

if TYPE_CHECKING:
    from sqlite_utils import Database

STAGE = "sqlite-fts"


class Columns(Strict):
    """Which columns make a document; those left out are looked for under their usual names."""

    id: str | None = None
    title: str | None = None
    text: tuple[str, ...] | str = ()
    meta: tuple[str, ...] = ()


class SqliteFtsSettings(Strict):
    """`database` is opened read-only; `table` has an FTS5 or FTS4 index (`sqlite-utils enable-fts`)."""

    database: Path
    table: str
    columns: Columns = Columns()
    format: Literal["auto", "markdown", "html", "text"] = "auto"
    stop_words: Literal["english", "none"] = "english"


class SqliteFtsRetriever:
    """The first stage `sqlite-fts`. Scores are BM25, higher is better; nothing is copied."""

    Settings: ClassVar[type[BaseModel]] = SqliteFtsSettings
    foreign = True

    def __init__(self, settings: SqliteFtsSettings, resources: Resources) -> None:
        self.settings = settings
        self.chunk = resources.chunk

    @classmethod
    def shares(cls, settings: SqliteFtsSettings) -> bool:
        return True

    @cached_property
    def _db(self) -> Database:
        from sqlite_utils import Database

        path = self.settings.database.expanduser()
        if not path.is_file():
            raise UsageError(f"There is no database {path}.")
        return Database(open_read_only(path))

    @cached_property
    def _fields(self) -> Fields:
        try:
            return self._found_fields()
        except FAILURES as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> RagqaError:
        return RagqaError(
            f"The full-text index of {self.settings.table!r} in {self.settings.database} "
            f"cannot be searched: {clean(str(error))}."
        )

    def _found_fields(self) -> Fields:
        table = self.settings.table
        if table not in self._db.table_names():
            known = ", ".join(self._db.table_names()) or "none"
            raise UsageError(f"{self.settings.database} has no table {table!r}. Tables there: {known}.")
        if not self._db.table(table).detect_fts():
            raise UsageError(
                f"The table {table!r} of {self.settings.database} has no full-text index: "
                f"sqlite-utils enable-fts {self.settings.database} {table} COLUMN... --create-triggers"
            )
        columns = self.settings.columns
        text = (columns.text,) if isinstance(columns.text, str) else columns.text
        names = [column.name for column in self._db.table(table).columns]
        keys = self._db.table(table).pks
        key = columns.id or (keys[0] if len(keys) == 1 and keys[0] in names else None)
        fields = Fields(key, columns.title, text, columns.meta, self.settings.format)
        return settle_fields(fields, names, f"the table {table}")

    def search(self, query: str, k: int) -> list[Hit]:
        fields = self._fields
        stop_words = STOP_LISTS[self.settings.stop_words]
        expression = match_expression(query, stop_words)
        if not expression:
            return []
        try:
            sql = self._db.table(self.settings.table).search_sql(limit=k, include_rank=True)
            rows = list(self._db.query(sql, {"query": expression}))
        except FAILURES as error:
            raise self._failure(error) from error
        name = self.settings.database.name
        found = []
        for row in rows:
            document = record_document(row, fields, name, f"{name} {self.settings.table}")
            if isinstance(document, Document):
                found.append((document, -_number(row["rank"])))
        return foreign_hits(found, query, k, STAGE, stop_words, self.chunk)

    def search_batch(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self.search(query, k) for query in queries]


def _number(rank: object) -> float:
    """Return a rank as a number: what lies in a database of others may be anything."""
    return float(rank) if isinstance(rank, int | float) else 0.0
