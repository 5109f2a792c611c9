"""What the proof works on: a corpus of real passages, and the questions asked of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragqa.config import ChunkSettings, Config, parse_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import ingest
from ragqa.sources import Fields, open_sources

SIZES = (10_000, 100_000, 1_000_000)
# The size up to which token vectors are there too, and SQLite is asked the same.
TOKENS_UP_TO = 100_000
CHUNK = ChunkSettings(tokens=128)
SOURCES = (
    *("til.ndjson", "blog_entry.ndjson", "scifact/corpus.jsonl", "train/2wiki_passages.jsonl", "nq_oracle"),
    *("xquad_en", "faq_zoomcamp", "cranfield"),
)
# What makes the vectors, and how they are kept.
MODEL = {"model": "embedded-light", "codec": "int2", "pool_factor": 3}
FUSE = {"by": "scores", "weights": {"fts": 1, "dense": 1, "colbert": 2}}
QUESTIONS = 100


@dataclass(frozen=True, slots=True)
class Material:
    """Where everything lies; `questions` were written by people, for til and (the `claims`) for SciFact."""

    folder: Path
    sizes: tuple[int, ...]
    questions: tuple[str, ...]
    claims: tuple[str, ...]

    @property
    def real(self) -> Path:
        return self.folder / "real.db"

    def grown(self, size: int) -> Path:
        return self.folder / f"{size}.db"

    def dataset(self, size: int) -> str:
        return str(self.folder / f"{size}.lance")


def sqlite_config(*, rerank: bool = True) -> dict[str, Any]:
    """Return what `default` does, over a corpus file, with the model of the proof."""
    stages = [{"type": "fts"}, {"type": "dense", "model": MODEL["model"]}]
    return {
        "chunk": CHUNK.model_dump(),
        "retrieve": {"type": "hybrid", "stages": stages},
        **({"rerank": {"type": "colbert", **MODEL, "fuse": FUSE}} if rerank else {}),
    }


def lance_config(uri: str, mode: str, *, rerank: bool = False, **settings: Any) -> dict[str, Any]:
    """Return a config that searches a dataset in one mode."""
    return {
        "chunk": CHUNK.model_dump(),
        "retrieve": {"type": "lancedb", "uri": uri, "mode": mode, **MODEL, **settings},
        "candidates": 100 if rerank else 10,
        **({"rerank": {"type": "colbert", **MODEL, "fuse": FUSE}} if rerank else {}),
    }


def pushed_config(uri: str) -> dict[str, Any]:
    """Return a config that searches both kinds of vectors, so that a push takes both there."""
    modes = [lance_config(uri, mode)["retrieve"] for mode in ("hybrid", "multivector")]
    return {"chunk": CHUNK.model_dump(), "retrieve": {"type": "hybrid", "stages": modes}}


def config(values: dict[str, Any]) -> Config:
    return parse_config(values, "scale")


def prepare(data: Path, folder: Path, passages: int, sizes: Sequence[int]) -> Material:
    """Return the material, after ingesting the collections, one after the other, up to so many passages."""
    notes = _texts(data / "til_questions.jsonl", "question")
    claims = _texts(data / "scifact/queries.jsonl", "text")
    questions = (*notes, *claims[: QUESTIONS - len(notes)])
    material = Material(folder, tuple(sizes), questions, claims)
    with Corpus.open(material.real, create=True) as corpus:
        if not corpus.count("documents"):
            for source in SOURCES:
                opened = open_sources([str(data / source)], Fields(id_prefix=f"{source.split('/')[0]}/"))
                ingest(corpus, opened, CHUNK)
            ingest(corpus, open_sources([], Fields(id_prefix="packages/"), packages=True), CHUNK)
            with corpus.transaction():
                corpus.connection.execute(
                    "DELETE FROM passages WHERE rowid NOT IN"
                    " (SELECT rowid FROM passages ORDER BY rowid LIMIT ?)",
                    [passages],
                )
    return material


def _texts(path: Path, field: str) -> tuple[str, ...]:
    return tuple(json.loads(line)[field] for line in path.read_text(encoding="utf-8").splitlines())
