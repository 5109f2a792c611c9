"""What is done to a corpus as a whole: ingest, index, remove, status. Faces call these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ragqa.config import load_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import (
    IngestReport,
    check_chunking,
    corpus_chunking,
    ingest,
    is_cut,
    rechunk_documents,
)
from ragqa.errors import RagqaError
from ragqa.files import default_corpus
from ragqa.index.dense_store import DenseStore, stored_embedders
from ragqa.index.passage_store import PassageStore, RowEngine, drop_encoders
from ragqa.index.plaid.plaid_index import drop_plaid, plaid_status
from ragqa.index.token_store import TokenStore, stored_encoders
from ragqa.pipeline import Pipeline
from ragqa.retrieve.fts import full_text_indexes
from ragqa.search.contracts import Derived, Sized, Storing
from ragqa.sources.source import Source, bounded


def ingest_sources(
    db: Path | None,
    config: str,
    sources: Sequence[Source],
    *,
    prune: bool = False,
    take_over: bool = False,
    on_document: Callable[[IngestReport], None] = lambda report: None,
) -> IngestReport:
    """Ingest into the corpus at `db`, made where there is none, cut as it is or else as `config` says.

    Documents that are longer than the config's limit are skipped.
    """
    settings = load_config(config)
    with Corpus.open(db or default_corpus(), create=True) as corpus:
        return ingest(
            corpus,
            [bounded(source, settings.limits.document) for source in sources],
            corpus_chunking(corpus) or settings.chunk,
            prune=prune,
            take_over=take_over,
            on_document=on_document,
        )


def build_index(
    pipeline: Pipeline,
    *,
    rechunk: bool = False,
    drop_unused: bool = False,
    on_passages: Callable[[int, int | None], None] = lambda done, total: None,
    engine: RowEngine | None = None,
) -> dict[str, Any]:
    """Make everything that the stages of `pipeline` search; return how many passages each one took.

    With an `engine`, that makes the vectors instead of this process. Raises UsageError when the corpus is cut
    otherwise than the config wants, unless `rechunk`.
    """
    corpus = pipeline.corpus
    rechunked = 0
    if rechunk and not is_cut(corpus, pipeline.config.chunk):
        total = corpus.count("documents")
        rechunked = rechunk_documents(corpus, pipeline.config.chunk, lambda done: on_passages(done, total))
    check_chunking(corpus, pipeline.config.chunk)
    built = _build(pipeline.derived(), on_passages, engine)
    dropped = _drop_unused(pipeline) if drop_unused else 0
    return {"config": pipeline.config.name, "stages": built, "rechunked": rechunked, "dropped": dropped}


def stores_of(stages: Iterable[Derived]) -> list[PassageStore]:
    """Return the stores that stages search, in their order; two stages may have the same one."""
    return [store for stage in stages if isinstance(stage, Storing) for store in stage.stores]


def missing_passages(pipeline: Pipeline) -> dict[str, int]:
    """Return how many passages each stage that searches something derived does not have yet."""
    return {name: stage.missing() for name, stage in pipeline.derived().items()}


def index_bytes(pipeline: Pipeline) -> int:
    """Return the bytes of all that the stages of `pipeline` search, the documents themselves apart."""
    stages = pipeline.derived().values()
    stores = {(store.table, store.fingerprint): store for store in stores_of(stages)}
    others = {
        name: size for stage in stages if isinstance(stage, Sized) for name, size in stage.sizes().items()
    }
    return sum(store.size() for store in stores.values()) + sum(others.values())


def remove_documents(corpus: Corpus, document_ids: Sequence[str]) -> int:
    """Delete these documents and return how many; raises RagqaError, removing none, for an unknown id."""
    unknown = [document_id for document_id in document_ids if corpus.document(document_id) is None]
    if unknown:
        raise RagqaError(f"There is no document {', '.join(map(repr, unknown))} in {corpus.path}.")
    with corpus.writing():
        return corpus.remove(document_ids)


def corpus_status(corpus: Corpus, *, index_files: bool = False) -> dict[str, Any]:
    """Return what the corpus holds, as `status --json` prints it; `index_files` opens the PLAID index."""
    chunk = corpus_chunking(corpus)
    passages = corpus.count("passages")
    origins = corpus.connection.execute(
        "SELECT origin, count(*), max(ingested_at) FROM documents GROUP BY origin ORDER BY origin"
    )
    return {
        "path": str(corpus.path),
        "bytes": corpus.path.stat().st_size,
        "documents": corpus.count("documents"),
        "passages": passages,
        "chunk": chunk.model_dump() if chunk else None,
        "origins": [
            {"origin": origin, "documents": count, "last_ingested": last} for origin, count, last in origins
        ],
        "full_text": full_text_indexes(corpus),
        "encoders": _with_missing(stored_encoders(corpus), passages),
        "embedders": _with_missing(stored_embedders(corpus), passages),
        "plaid": plaid_status(corpus, files=index_files),
    }


def _with_missing(stored: list[dict[str, Any]], passages: int) -> list[dict[str, Any]]:
    return [{**model, "missing": passages - int(model["passages"])} for model in stored]


def _build(
    derived: Mapping[str, Derived], on_passages: Callable[[int, int], None], engine: RowEngine | None
) -> dict[str, int]:
    """Build each stage and return how many passages that took.

    Stages with token vectors come first, since their encoder's pass may give dense vectors as well.
    """
    stores = stores_of(derived.values())
    dense = [store for store in stores if isinstance(store, DenseStore)]
    lacking = {name: stage.missing() for name, stage in derived.items()}
    for store in stores:
        if isinstance(store, TokenStore):
            encoder = store.encoder
            beside = next((other for other in dense if other.comes_with(encoder)), None)
            store.build(on_passages, beside, engine)
    # The stages build without an engine: what is left to them is what is no store's.
    for store in stores if engine is not None else ():
        store.build(on_passages, engine=engine)
    for stage in derived.values():
        stage.build(on_passages)
    return lacking


def _drop_unused(pipeline: Pipeline) -> int:
    stages = pipeline.derived().values()
    used = [store.fingerprint for store in stores_of(stages)]
    drop_plaid(pipeline.corpus, used)
    return drop_encoders(pipeline.corpus, used, [TokenStore.table, DenseStore.table])
