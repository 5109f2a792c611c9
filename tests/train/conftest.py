from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragqa.corpus.database import Corpus
from ragqa.operations.corpus import build_index
from ragqa.pipeline import Pipeline
from tests.train.material import make_corpus, small_checkpoint, small_config


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights, in sentence-transformers' layout."""
    return small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def puzzles_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("puzzles"))


@pytest.fixture(scope="session")
def indexed_puzzles(puzzles_db: Path, small: Path) -> Path:
    path = Path(shutil.copy(puzzles_db, puzzles_db.with_name("indexed.db")))
    with Corpus.open(path) as corpus:
        build_index(Pipeline(small_config(small), corpus))
    return path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch use one thread: for models so small, several wait for each other most of the time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def puzzles(indexed_puzzles: Path, small: Path, tmp_path: Path) -> Iterator[Pipeline]:
    """The stages of a config with the small checkpoint, over a corpus of one's own."""
    with Corpus.open(shutil.copy(indexed_puzzles, tmp_path / "puzzles.db")) as corpus:
        yield Pipeline(small_config(small), corpus)
