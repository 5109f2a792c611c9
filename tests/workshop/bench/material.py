"""What the benchmarks work on: corpora of the til notes and of SciFact, made once, and questions."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ragqa.config import load_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import ingest
from ragqa.errors import UsageError
from ragqa.evaluate.questions import load_questions
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from ragqa.sources import Fields, open_sources

TIL = Fields(id="slug", title="title", text=("body",), meta=("created", "topic"))


@dataclass(frozen=True, slots=True)
class Material:
    """Corpora with everything indexed, and the questions asked of them."""

    folder: Path
    til: Path
    til_questions: list[str]
    scifact: Path
    scifact_questions: list[str]

    def copy(self, name: str) -> Path:
        """Return a copy of the til corpus to be changed, in a folder of its own."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with (
            closing(sqlite3.connect(self.til)) as source,
            closing(sqlite3.connect(folder / "til.db")) as copy,
        ):
            source.backup(copy)
        return folder / "til.db"


def prepare(data: Path, folder: Path) -> Material:
    """Ingest and index what is not yet in `folder`; raises UsageError where `data` lacks something."""
    for name in ("til.ndjson", "til_questions.jsonl", "scifact"):
        if not (data / name).exists():
            raise UsageError(f"There is no {name} in {data}, which the benchmarks need: --data FOLDER.")
    folder.mkdir(parents=True, exist_ok=True)
    til = _corpus(data / "til.ndjson", folder / "til.db", TIL)
    scifact = _corpus(data / "scifact", folder / "scifact.db", Fields())
    return Material(
        folder,
        til,
        [question.text for question in load_questions(data / "til_questions.jsonl").questions],
        scifact,
        [question.text for question in load_questions(data / "scifact").questions],
    )


def _corpus(source: Path, db: Path, fields: Fields) -> Path:
    config = load_config("default")
    with Corpus.open(db, create=True) as corpus:
        ingest(corpus, open_sources([str(source)], fields), config.chunk)
    pipeline = Pipeline.from_config(config, db)
    build_index(pipeline)
    pipeline.close()
    return db
