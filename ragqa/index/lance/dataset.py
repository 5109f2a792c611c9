"""A Lance dataset as readers see it: what the last finished push made, searched and read."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.corpus.database import batches
from ragqa.errors import RagqaError, require
from ragqa.files import default_dataset
from ragqa.index.lance import layout
from ragqa.index.lance.layout import Manifest
from ragqa.index.passage_store import Row
from ragqa.types import Passage

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.db import DBConnection
    from lancedb.table import Table

    from ragqa.encoders.tokens import Vectors

# How long a reader searches what it knows before it asks whether there has been another push.
REFRESH_S = 2.0
# Rows that are scored again, where more of them are not asked for anyway.
AT_ONCE = 200
# Rows whose places are remembered: those of the candidates that a second stage asks for next.
PLACES_KEPT = 20_000


def location(uri: str) -> str:
    """Return where a dataset is: a folder or a store's address; the user's own where `uri` is empty."""
    place = uri or default_dataset()
    return place if "://" in place else str(Path(place).expanduser())


def connect(uri: str) -> DBConnection:
    """Return a connection; raises RagqaError when LanceDB is not installed or the place cannot be reached.

    Keys and endpoints of object stores are those of the environment (AWS_ACCESS_KEY_ID and the like).
    """
    lancedb = require("lancedb", "A Lance dataset", "ragqa[scale]")
    try:
        connection: DBConnection = lancedb.connect(location(uri))
    except FAILURES as error:
        raise failure(uri, error) from error
    return connection


# What LanceDB raises comes out of Rust as one of these.
FAILURES = (RuntimeError, ValueError, OSError)


def failure(uri: str, error: Exception) -> RagqaError:
    """Return an error of LanceDB's as one line."""
    said = " ".join(str(error).split())[:300]
    return RagqaError(f"The Lance dataset {location(uri)} cannot be used: {said}")


def open_table(connection: DBConnection, uri: str) -> Table | None:
    """Return the table of passages as it is now, half pushed or not; None where there is none."""
    try:
        if layout.TABLE not in connection.list_tables().tables:
            return None
        return connection.open_table(layout.TABLE)
    except FAILURES as error:
        raise failure(uri, error) from error


def tagged(table: Table, tag: str) -> int | None:
    """Return the version that a tag names, or None."""
    found = table.tags.list().get(tag)
    return None if found is None else int(found["version"])


@dataclass(frozen=True, slots=True)
class VectorSearch:
    """How vectors are searched: all of them compared (`exact`), or those that the index leads to.

    `probes` of its partitions are looked into, and `ef` neighbours in a graph (None: LanceDB's own choice).
    `refine` times as many rows as are wanted come back to be scored again, AT_ONCE of them at most.
    """

    exact: bool = False
    probes: int | None = None
    refine: int = 1
    ef: int | None = None

    def rows(self, k: int) -> int:
        """Return how many rows are asked for when `k` are wanted: half as many more, or as `refine` says."""
        some = k + max(10, k // 2)
        return some if self.exact else max(some, min(self.refine * k, AT_ONCE))


@dataclass(frozen=True, slots=True)
class _Pinned:
    """The table at one version; nothing of it changes."""

    version: int
    table: Table
    manifest: Manifest
    columns: frozenset[str]


class Dataset:
    """A dataset at the version of its last finished push. Threads may share it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._connection = connect(uri)
        self._turn = threading.Lock()
        self._pinned = self._pin()
        self._asked_at = time.monotonic()
        self._places: dict[int, tuple[int, int]] = {}

    @property
    def manifest(self) -> Manifest:
        return self._pinned.manifest

    @property
    def columns(self) -> frozenset[str]:
        return self._pinned.columns

    def refresh(self) -> None:
        """Go on to the last finished push, where one has been since the last look, REFRESH_S ago."""
        with self._turn:
            if time.monotonic() - self._asked_at < REFRESH_S:
                return
            self._pinned = self._pin(self._pinned)
            self._asked_at = time.monotonic()

    def _pin(self, known: _Pinned | None = None) -> _Pinned:
        table = open_table(self._connection, self.uri)
        try:
            version = None if table is None else tagged(table, layout.CURRENT)
            if table is None or version is None:
                raise RagqaError(
                    f"There is no pushed corpus at {location(self.uri)}: "
                    f"ragqa push --to {location(self.uri)} makes one."
                )
            if known is not None and known.version == version:
                return known
            table.checkout(version)
            return _Pinned(
                version, table, Manifest.of(table.schema, location(self.uri)), frozenset(table.schema.names)
            )
        except FAILURES as error:
            raise failure(self.uri, error) from error

    # -- searching ------------------------------------------------------------------------------

    def full_text(self, terms: str, k: int, condition: str | None = None) -> list[tuple[Passage, float]]:
        """Return the `k` passages with the best BM25 for any of the `terms`, with it."""

        def started(table: Table) -> Any:
            return table.search(terms, query_type="fts", fts_columns=layout.FULL_TEXT)

        found = self._run("_score", (), k, condition, started)
        return [(layout.passage_of(row), float(row["_score"])) for row in found]

    def nearest(
        self,
        column: str,
        query: Vectors,
        k: int,
        codes: Sequence[str],
        search: VectorSearch,
        condition: str | None = None,
    ) -> list[tuple[Passage, Row]]:
        """Return about the `k` nearest passages and their `codes`: their packed vectors.

        `query` is one vector, or several, compared with a passage's several by MaxSim. More come back than
        `k`, because packed vectors have the last word on the order.
        """

        def started(table: Table) -> Any:
            metric = "cosine" if column == layout.TOKENS else "dot"
            asked: Any = table.search(query, vector_column_name=column)
            asked = asked.distance_type(metric)
            if search.exact:
                return asked.bypass_vector_index()
            for name, value in (("nprobes", search.probes), ("ef", search.ef)):
                asked = asked if value is None else getattr(asked, name)(value)
            return asked

        found = self._run("_distance", codes, search.rows(k), condition, started)
        return [(layout.passage_of(row), tuple(row[name] for name in codes)) for row in found]

    def _run(
        self, score: str, columns: Sequence[str], k: int, condition: str | None, started: Any
    ) -> list[dict[str, Any]]:
        pinned = self._pinned
        try:
            query = started(pinned.table)
            if condition is not None:
                query = query.where(condition, prefilter=True)
            names = [*layout.PASSAGE, *columns, score]
            rows: list[dict[str, Any]] = query.select(names).limit(k).with_row_id(True).to_list()
        except FAILURES as error:
            raise failure(self.uri, error) from error
        if len(self._places) > PLACES_KEPT:
            self._places = {}
        self._places.update(
            (layout.key_of(row["digest"]), (pinned.version, int(row["_rowid"]))) for row in rows
        )
        return rows

    # -- reading --------------------------------------------------------------------------------

    def read(self, passages: Sequence[Passage], columns: Sequence[str]) -> dict[int, Row]:
        """Return these columns of passages by key; those that the dataset has not are left out."""
        pinned = self._pinned
        places: dict[int, int] = {}
        for passage in passages:
            version, place = self._places.get(passage.rowid, (-1, -1))
            if version == pinned.version:
                places[passage.rowid] = place
        found = self._take(pinned, list(places.values()), columns)
        lacking = [passage for passage in passages if passage.rowid not in found]
        for batch in batches(lacking):
            digests = ", ".join(f"'{layout.digest(passage)}'" for passage in batch)
            query = pinned.table.search().where(f"digest IN ({digests})").limit(len(batch))
            found.update(self._rows(query.select(["digest", *columns]).to_arrow(), columns))
        return found

    def _take(self, pinned: _Pinned, places: list[int], columns: Sequence[str]) -> dict[int, Row]:
        if not places:
            return {}
        query = pinned.table.take_row_ids(places).select(["digest", *columns])
        return self._rows(query.to_arrow(), columns)

    def _rows(self, table: pa.Table, columns: Sequence[str]) -> dict[int, Row]:
        values = [table[name].to_pylist() for name in columns]
        keys = [layout.key_of(digest) for digest in table["digest"].to_pylist()]
        return dict(zip(keys, zip(*values, strict=True), strict=True))


def open_dataset(uri: str) -> Dataset:
    """Return the dataset at `uri`, opened once per process; raises RagqaError when there is none."""
    return _open(location(uri))


def forget() -> None:
    """Let go of all datasets: the next question opens its own anew."""
    _open.cache_clear()


@cache
def _open(uri: str) -> Dataset:
    return Dataset(uri)
