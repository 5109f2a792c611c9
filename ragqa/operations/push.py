"""From a corpus file to a Lance dataset: what is new is added, what is gone deleted, all seen at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from ragqa.corpus.database import batches
from ragqa.corpus.places import write_place
from ragqa.errors import BusyError, RagqaError
from ragqa.index.dense_store import DenseStore
from ragqa.index.lance import layout
from ragqa.index.lance.dataset import FAILURES, connect, failure, location, open_table, tagged
from ragqa.index.lance.layout import Manifest, Vectors
from ragqa.index.passage_store import PassageStore
from ragqa.index.token_store import TokenStore
from ragqa.operations import indexes
from ragqa.operations.corpus import build_index, stores_of
from ragqa.pipeline import Pipeline
from ragqa.retrieve.lance import LanceRetriever, LanceSettings
from ragqa.types import Passage

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.db import DBConnection
    from lancedb.table import Table

# Passages that are read and encoded for Lance at a time, and those that one version adds.
READ, ADD = 1000, 20_000
# Digests that one deletion names.
DELETE = 1000
# How long versions are kept that no reader begins to search any more.
KEEP = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did; `version` is what readers search from now on.

    `index_seconds` of its `seconds` went into indexes.
    """

    uri: str
    added: int
    deleted: int
    unchanged: int
    version: int
    seconds: float
    index_seconds: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Stores:
    """What is pushed besides the passages, and how it is indexed."""

    dense: DenseStore | None
    tokens: TokenStore | None
    settings: LanceSettings
    multivector: bool


def push(
    pipeline: Pipeline,
    uri: str = "",
    *,
    multivector: bool = False,
    anew: bool = False,
    on_passages: Callable[[int, int | None], None] = lambda done, total: None,
    on_rows: Callable[[int, int | None], None] = lambda done, total: None,
) -> PushReport:
    """Bring the dataset at `uri` to what the pipeline's corpus holds, and return what that took.

    Vectors that the config's stages search and the corpus lacks are made first. With `multivector`, or a
    first stage that searches them, token vectors go there as numbers as well. A push that is broken off
    goes on when it is called again, and until then readers search what was there before. Raises RagqaError
    when the dataset holds other vectors, unless `anew`.
    """
    begun = time.monotonic()
    stores = _stores(pipeline, multivector)
    uri = uri or stores.settings.uri
    connection = connect(uri)
    with _only_one(uri), _snapshot(pipeline, on_passages):
        manifest = _manifest(pipeline, stores)
        try:
            table = _table(connection, uri, manifest, _metadata_columns(pipeline), anew)
            added, deleted, unchanged = _bring(table, pipeline, stores, on_rows)
            written = time.monotonic()
            indexes.update(table, manifest, stores.settings)
            indexed = time.monotonic()
            version = _publish(table)
        except FAILURES as error:
            raise failure(uri, error) from error
    return PushReport(
        uri=location(uri),
        added=added,
        deleted=deleted,
        unchanged=unchanged,
        version=version,
        seconds=time.monotonic() - begun,
        index_seconds=indexed - written,
    )


def _stores(pipeline: Pipeline, multivector: bool) -> _Stores:
    """Return the stores of the config's stages, of which there is to be one of a kind."""
    stages = pipeline.derived().values()
    lance = [stage for stage in stages if isinstance(stage, LanceRetriever)]
    stores = stores_of(stages)
    dense = {store.fingerprint: store for store in stores if isinstance(store, DenseStore)}
    tokens = {store.fingerprint: store for store in stores if isinstance(store, TokenStore)}
    if len(dense) > 1 or len(tokens) > 1:
        raise RagqaError(
            f"The config {pipeline.config.name} searches vectors of several models, and a Lance dataset "
            "holds those of one."
        )
    searched = any(stage.settings.mode == "multivector" for stage in lance)
    if multivector and not tokens:
        raise RagqaError(f"The config {pipeline.config.name} has no token vectors that could be pushed.")
    return _Stores(
        next(iter(dense.values()), None),
        next(iter(tokens.values()), None),
        lance[0].settings if lance else LanceSettings(),
        multivector or searched,
    )


def _manifest(pipeline: Pipeline, stores: _Stores) -> Manifest:
    dense, tokens = stores.dense, stores.tokens
    return Manifest(
        chunk=json.dumps(pipeline.corpus.setting("chunk"), sort_keys=True),
        dense=None if dense is None else _kind(dense, dense.embedder.dimensions, dense.codec),
        tokens=None if tokens is None else _kind(tokens, tokens.encoder.dimensions, tokens.storage.codec),
        multivector=stores.multivector,
    )


def _kind(store: PassageStore, dimensions: int, codec: str) -> Vectors:
    return Vectors(store.fingerprint, store.description, dimensions, codec)


@contextmanager
def _only_one(uri: str) -> Iterator[None]:
    """Keep a second push from a folder; in an object store nobody does."""
    place = location(uri)
    if "://" in place:
        yield
        return
    Path(place).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{place}.lock").acquire(timeout=0):
            yield
    except Timeout as error:
        raise BusyError(f"Another process is pushing to {place}. Try again when it has finished.") from error


@contextmanager
def _snapshot(pipeline: Pipeline, on_passages: Callable[[int, int | None], None]) -> Iterator[None]:
    """Read the corpus as it is once all vectors are there, whatever others write meanwhile."""
    corpus = pipeline.corpus
    with corpus.writing() if corpus.writable else nullcontext():
        build_index(pipeline, on_passages=on_passages)
        corpus.connection.execute("BEGIN")
        # SQLite's snapshot is taken by the first read.
        corpus.count("passages")
    try:
        yield
    finally:
        corpus.connection.rollback()


# -- rows ---------------------------------------------------------------------------------------------


def _metadata_columns(pipeline: Pipeline) -> dict[str, pa.DataType]:
    """Return the columns that the documents' metadata need."""
    types = layout.metadata_types()
    kinds = {"text": layout.TEXT, "array": "", **dict.fromkeys(_NUMERIC, layout.NUMBER)}
    keys = pipeline.corpus.connection.execute(
        "SELECT DISTINCT key, type FROM documents, json_each(documents.metadata)"
    ).fetchall()
    elements = pipeline.corpus.connection.execute(
        "SELECT DISTINCT m.key, e.type FROM documents, json_each(documents.metadata) m, json_each(m.value) e"
        " WHERE m.type = 'array'"
    ).fetchall()
    found = [(key, kinds[kind]) for key, kind in keys if kinds.get(kind)]
    found += [(key, f"{kinds[kind]}s") for key, kind in elements if kinds.get(kind)]
    return {layout.metadata_column(key, kind): types[kind] for key, kind in found}


_NUMERIC = ("integer", "real", "true", "false")


def _table(
    connection: DBConnection, uri: str, manifest: Manifest, metadata: Mapping[str, pa.DataType], anew: bool
) -> Table:
    """Return the table that rows go to, with all columns that they need."""
    table = open_table(connection, uri)
    wanted = layout.schema(manifest, metadata)
    if table is None:
        return connection.create_table(layout.TABLE, schema=wanted)
    found = Manifest.of(table.schema, location(uri))
    if found != manifest:
        if not anew:
            raise RagqaError(
                f"The Lance dataset {location(uri)} was pushed with other vectors or other passages than "
                "this config's: --anew replaces them, --to PLACE pushes elsewhere."
            )
        # The old rows stay in the versions before, which readers search until this push is finished.
        return connection.create_table(layout.TABLE, schema=wanted, mode="overwrite")
    known = set(table.schema.names)
    lacking = [field for field in wanted if field.name not in known]
    if lacking:
        table.add_columns(lacking)
    return table


def _bring(
    table: Table, pipeline: Pipeline, stores: _Stores, on_rows: Callable[[int, int | None], None]
) -> tuple[int, int, int]:
    """Add the rows that are new, delete those that are gone; return how many, and how many stayed."""
    corpus = pipeline.corpus
    stale = _digests(table)
    rowids = [row[0] for row in corpus.connection.execute("SELECT rowid FROM passages ORDER BY rowid")]
    added = unchanged = done = 0
    pending: list[pa.RecordBatch] = []
    for batch in batches(rowids, READ):
        passages = {layout.digest(passage): passage for passage in corpus.passages(batch)}
        new = {digest: passage for digest, passage in passages.items() if digest not in stale}
        unchanged += len(passages) - len(new)
        stale.difference_update(passages)
        if new:
            pending.append(_rows(new, stores, table.schema))
            added += len(new)
        if sum(map(len, pending)) >= ADD:
            _add(table, pending)
            pending = []
        done += len(batch)
        on_rows(done, len(rowids))
    _add(table, pending)
    for gone in batches(sorted(stale), DELETE):
        table.delete("digest IN (" + ", ".join(f"'{digest}'" for digest in gone) + ")")
    return added, len(stale), unchanged


def _digests(table: Table) -> set[str]:
    """Return the digests of all rows, half pushed ones among them."""
    found: set[str] = set()
    for batch in table.search().select(["digest"]).to_batches(100_000):
        found.update(batch["digest"].to_pylist())
    return found


def _add(table: Table, pending: Sequence[pa.RecordBatch]) -> None:
    import pyarrow as pa

    if pending:
        table.add(pa.Table.from_batches(pending))


def _rows(passages: Mapping[str, Passage], stores: _Stores, schema: pa.Schema) -> pa.RecordBatch:
    """Return passages, by their digests, as rows of a dataset."""
    import pyarrow as pa

    listed = list(passages.values())
    columns: dict[str, Any] = {
        "digest": list(passages),
        "document_id": [passage.document_id for passage in listed],
        "ordinal": [passage.ordinal for passage in listed],
        "start": [passage.start for passage in listed],
        "end": [passage.end for passage in listed],
        "title": [passage.title for passage in listed],
        "headings": ["\n".join(passage.headings) for passage in listed],
        "text": [passage.text for passage in listed],
        "source": [passage.source for passage in listed],
        "metadata": [json.dumps(passage.metadata, sort_keys=True) for passage in listed],
        "place": [write_place(passage.place) for passage in listed],
        layout.FULL_TEXT: [layout.full_text(passage) for passage in listed],
    }
    columns.update(_vectors(listed, stores))
    own = [layout.metadata_values(passage.metadata) for passage in listed]
    for name in schema.names:
        if name not in columns:
            columns[name] = [values.get(name) for values in own]
    arrays = [
        columns[field.name]
        if isinstance(columns[field.name], pa.Array)
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _vectors(passages: Sequence[Passage], stores: _Stores) -> dict[str, Any]:
    """Return the columns with vectors: packed as they are stored, and as numbers where they are searched."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    if stores.dense is not None:
        found = stores.dense.read_or_make(passages)
        rows = {passage.rowid: found[passage.rowid] for passage in passages}
        matrix = stores.dense.matrix_of(rows)
        numbers = (matrix.rows * matrix.scales[:, None]).astype(np.float16)
        columns[layout.DENSE] = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), numbers.shape[1])
        columns.update(zip(layout.DENSE_CODES, zip(*rows.values(), strict=True), strict=True))
    if stores.tokens is not None:
        found = stores.tokens.read_or_make(passages)
        packed = [found[passage.rowid] for passage in passages]
        columns.update(zip(layout.TOKEN_CODES, zip(*packed, strict=True), strict=True))
        if stores.multivector:
            unpacked = stores.tokens.matrix(packed)
            values = pa.array(unpacked.vectors.astype(np.float16).ravel())
            vectors = pa.FixedSizeListArray.from_arrays(values, unpacked.vectors.shape[1])
            columns[layout.TOKENS] = pa.ListArray.from_arrays(pa.array(unpacked.offsets, pa.int32()), vectors)
    return columns


# -- versions -----------------------------------------------------------------------------------------


def _publish(table: Table) -> int:
    """Make the version that the push made the one that readers search; return it.

    The one before stays as it is for those who are still reading it.
    """
    version = int(table.version)
    before = tagged(table, layout.CURRENT)
    for tag, value in ((layout.PREVIOUS, before), (layout.CURRENT, version)):
        if value is None or tagged(table, tag) == value:
            continue
        if tagged(table, tag) is None:
            table.tags.create(tag, value)
        else:
            table.tags.update(tag, value)
    if before != version:
        table.optimize(cleanup_older_than=KEEP)
    return version
