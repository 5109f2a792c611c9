"""Copies of a corpus that are cut otherwise, in the user's cache: tuning never changes the corpus itself."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from ragqa.config import ChunkSettings
from ragqa.corpus.chunking import VERSION
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import rechunk_documents
from ragqa.errors import RagqaError


def copies_folder() -> Path:
    """Return where copies are kept; everything in it can be deleted."""
    return user_cache_path("ragqa", appauthor=False) / "tune"


def working_copy(
    corpus: Corpus, chunk: ChunkSettings, on_documents: Callable[[int, int], None] = lambda done, total: None
) -> Corpus:
    """Return a copy of `corpus` cut as `chunk` says, to be closed by the caller.

    One that was made for the same documents is opened again. Passages that the cutting leaves as they
    were keep their vectors. Raises RagqaError when the cache cannot be written.
    """
    key = json.dumps([corpus.fingerprint(), chunk.model_dump(), VERSION], sort_keys=True)
    path = copies_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.db"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.making"):
            if not path.exists():
                _make(corpus, chunk, path, on_documents)
    except OSError as error:
        raise RagqaError(f"A copy of the corpus cannot be made at {path}: {error}.") from error
    return Corpus.open(path)


def _make(corpus: Corpus, chunk: ChunkSettings, path: Path, on_documents: Callable[[int, int], None]) -> None:
    """Make the copy under another name first, so that a killed run leaves no half of one."""
    part = path.with_suffix(".part")
    for leftover in path.parent.glob(f"{part.name}*"):
        leftover.unlink()
    target = sqlite3.connect(part)
    try:
        corpus.connection.backup(target)
    except sqlite3.Error as error:
        raise RagqaError(f"A copy of the corpus cannot be made at {path}: {error}.") from error
    finally:
        target.close()
    with Corpus.open(part) as copy:
        total = copy.count("documents")
        rechunk_documents(copy, chunk, lambda done: on_documents(done, total))
    os.replace(part, path)
    Path(f"{part}.lock").unlink(missing_ok=True)
