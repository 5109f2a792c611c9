"""Reranking, the full ColBERT search, building and adding, against RAGatouille with the same checkpoint."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ragqa.config import load_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import ingest
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.device import Compute
from ragqa.encoders.embedded.vocabulary import count_tokens
from ragqa.encoders.ragatouille.encoder import load_model
from ragqa.encoders.ragatouille.stanford import stanford_layout
from ragqa.encoders.ragatouille.taming import SEARCHING, ensure_compiled
from ragqa.encoders.tokens import EncoderSettings
from ragqa.index.plaid.mends import index_root
from ragqa.index.plaid.plaid_index import LAYOUT
from ragqa.index.token_store import stored_encoders
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.search.contracts import Reranker
from ragqa.sources import Fields, open_sources
from ragqa.types import Hit, Passage
from tests.workshop.bench.material import Material
from tests.workshop.bench.measure import Row, paired, timed

# How many passages RAGatouille indexes: it takes minutes for them.
INDEXED = 1000
INDEX = "bench"


@contextmanager
def opened(config: str, db: Path) -> Iterator[Pipeline]:
    """Open a config over a corpus, with all that it searches built."""
    pipeline = Pipeline.from_config(config, db)
    try:
        build_index(pipeline)
        yield pipeline
    finally:
        pipeline.close()


def rerank(material: Material) -> Iterator[Row]:
    """Question to order, with the candidates found beforehand; each pair asks another question."""
    model = load_model(stanford_layout(EncoderSettings()), Compute())
    with opened("fts-colbert", material.til) as pipeline:
        for count, pairs, reach in ((10, 15, 60), (100, 9, 200)):
            questions = material.til_questions[:pairs]
            found = [pipeline.retriever.search(question, count) for question in questions]
            texts = [[indexed_text(hit.passage)[0] for hit in hits] for hits in found]

            times = paired(
                partial(_rerank_ours, pipeline.reranker, questions, found),
                partial(_rerank_theirs, model, questions, texts),
                pairs,
            )
            within = count == 10 or times.ours_s <= 0.025
            yield times.row(
                f"rerank {count} candidates, question to order",
                "`RAGPretrainedModel.rerank`",
                f"{reach} times" + (", at most 25 ms" if count == 100 else ""),
                times.ratio >= reach and within,
            )


def _rerank_ours(
    reranker: Reranker, questions: Sequence[str], found: Sequence[Sequence[Hit]], number: int
) -> None:
    reranker.rerank(questions[number], found[number], len(found[number]))


def _rerank_theirs(model: Any, questions: Sequence[str], texts: Sequence[Sequence[str]], number: int) -> None:
    model.rerank(questions[number], texts[number], k=len(texts[number]))


def search(material: Material) -> Iterator[Row]:
    """Full ColBERT search over all passages; PLAID is asked another question than the side before it."""
    questions = material.til_questions
    pairs = len(questions)
    with opened("colbert-plaid", material.til) as plaid:
        for config in ("colbert-shortlist", "colbert-exact"):
            with opened(config, material.til) as ours:
                times = paired(
                    partial(_ask, ours, questions),
                    partial(_ask, plaid, [*questions[pairs // 2 :], *questions[: pairs // 2]]),
                    pairs,
                )
                yield times.row(
                    f"`{config}` over {ours.corpus.count('passages'):,} passages",
                    "PLAID (RAGatouille) over the same vectors",
                    "no slower",
                    times.ratio >= 1,
                )


def _ask(pipeline: Pipeline, questions: Sequence[str], number: int) -> None:
    pipeline.search(questions[number], 10)


def stored_bytes(material: Material) -> Iterator[Row]:
    """What the token vectors take in the corpus file, per token of text."""
    with opened("fts-colbert", material.til) as pipeline:
        stored = next(
            entry
            for entry in stored_encoders(pipeline.corpus)
            if entry["fingerprint"] == pipeline.reranker.store.fingerprint  # type: ignore[attr-defined]
        )
        passages = all_passages(pipeline.corpus)
        tokens = sum(count_tokens(indexed_text(passage)[0]) for passage in passages)
    yield Row(
        work="token vectors in the corpus file, per token of text",
        ours=stored["bytes"] / tokens,
        unit="bytes",
        peer="the original experiment's PLAID index, per token vector",
        theirs=76,
        ratio=76 * tokens / stored["bytes"],
        reach="at most 64",
        reached=stored["bytes"] / tokens <= 64,
        note=f"{stored['codec']}, pooled by {stored['pool_factor']:g}",
    )


@dataclass(frozen=True, slots=True)
class _TheirIndex:
    folder: Path
    root: Path
    seconds: float


def build_and_add(material: Material) -> Iterator[Row]:
    """Index the first passages from nothing, then add a document and find it: once each, it takes minutes."""
    db = material.copy("build")
    with Corpus.open(db) as corpus:
        passages = all_passages(corpus)[:INDEXED]
        kept = {passage.document_id for passage in passages}
        everything = corpus.connection.execute("SELECT id FROM documents").fetchall()
        corpus.remove([row[0] for row in everything if row[0] not in kept])
        passages = all_passages(corpus)
    with tempfile.TemporaryDirectory(prefix="ragqa-bench-") as folder:
        theirs = _ragatouille_index(passages, Path(folder))
        with opened("default", db) as pipeline:
            seconds = min(_rebuild(pipeline) for _ in range(3))
        rate, their_rate = len(passages) / seconds, len(passages) / theirs.seconds
        yield Row(
            work=f"index {len(passages):,} passages (token vectors and dense ones)",
            ours=rate,
            unit="/s",
            peer="`RAGPretrainedModel.index` (token vectors)",
            theirs=their_rate,
            ratio=rate / their_rate,
            reach="4 times",
            reached=rate >= 4 * their_rate,
            note="the peer once, ragqa the best of three",
        )
        yield _add(material, theirs)


def _add(material: Material, theirs: _TheirIndex) -> Row:
    """Ours is added to all of the notes, theirs to the few that were indexed."""
    text = "Zymurgy is the study of fermentation in brewing, and of the yeast that does it."
    question = "What is zymurgy?"
    db = material.copy("add")
    document = db.with_name("zymurgy.md")
    document.write_text(f"# Zymurgy\n\n{text}\n", encoding="utf-8")
    with opened("default", db) as pipeline:
        pipeline.search("warm up")

        def ours() -> None:
            ingest(pipeline.corpus, open_sources([str(document)], Fields()), load_config("default").chunk)
            assert "zymurgy" in pipeline.search(question).hits[0].passage.document_id

        seconds = timed(ours)
        passages = pipeline.corpus.count("passages")

    from ragatouille import RAGPretrainedModel

    ensure_compiled(SEARCHING)
    model = RAGPretrainedModel.from_index(theirs.folder, verbose=0)
    model.search("warm up", k=1)

    def add() -> None:
        with index_root(theirs.root):
            model.add_to_index([text], new_document_ids=["zymurgy"], index_name=INDEX, split_documents=False)
        model.search(question, k=1)

    their_seconds = timed(add)
    return Row(
        work=f"add one document to {passages:,} passages, then find it",
        ours=seconds * 1000,
        unit="ms",
        peer=f"`add_to_index` and `search`, {INDEXED:,} passages",
        theirs=their_seconds * 1000,
        ratio=their_seconds / seconds,
        reach="under 1 s",
        reached=seconds < 1,
        note="once",
    )


def _rebuild(pipeline: Pipeline) -> float:
    with pipeline.corpus.transaction():
        for table in ("token_vectors", "dense_vectors"):
            pipeline.corpus.connection.execute(f"DELETE FROM {table}")
    return timed(partial(build_index, pipeline))


def _ragatouille_index(passages: Sequence[Passage], root: Path) -> _TheirIndex:
    """Index as its users do: texts, identifiers, no splitting; the model is loaded beforehand."""
    model = load_model(stanford_layout(EncoderSettings()), Compute())
    model.model.run_config.root = model.model.config.root = str(root)

    def index() -> None:
        with index_root(root):
            model.index(
                collection=[indexed_text(passage)[0] for passage in passages],
                document_ids=[str(passage.rowid) for passage in passages],
                index_name=INDEX,
                max_document_length=512,
                split_documents=False,
            )

    gc.collect()
    seconds = timed(index)
    return _TheirIndex(root / LAYOUT / INDEX, root, seconds)


def all_passages(corpus: Corpus) -> list[Passage]:
    rowids = corpus.connection.execute("SELECT rowid FROM passages ORDER BY rowid").fetchall()
    return corpus.passages([row[0] for row in rowids])
