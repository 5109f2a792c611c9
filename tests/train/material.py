"""A small corpus in which titles and texts have no word in common, and a small checkpoint to learn it."""

from __future__ import annotations

import itertools
from pathlib import Path

from ragqa.config import ChunkSettings, Config, parse_config
from ragqa.corpus.database import Corpus
from ragqa.corpus.ingest import ingest
from ragqa.sources import Fields, open_sources
from tests.checkpoints import native

# Each word of a title stands for one of the text; both are in the checkpoint's vocabulary.
MEANING = {
    "tea": "cement",
    "tyre": "filter",
    "beans": "roots",
    "water": "morning",
    "paper": "leaves",
    "patch": "rubber",
    "green": "degrees",
    "flat": "medium",
}


def write_puzzles(folder: Path) -> Path:
    """Write a note for every three of the words: its title, and what that means, three times."""
    folder.mkdir(exist_ok=True)
    for words in itertools.combinations(MEANING, 3):
        meant = " ".join(MEANING[word] for word in words)
        text = f"# {' '.join(words)}\n\n{meant} {meant} {meant}\n"
        (folder / f"{'-'.join(words)}.md").write_text(text, encoding="utf-8")
    return folder


def make_corpus(folder: Path) -> Path:
    path = folder / "puzzles.db"
    with Corpus.open(path, create=True) as corpus:
        ingest(corpus, open_sources([str(write_puzzles(folder / "puzzles"))], Fields()), ChunkSettings())
    return path


def small_checkpoint(folder: Path) -> Path:
    return native(folder)


def small_config(checkpoint: Path) -> Config:
    """Return a config whose ColBERT stage has that checkpoint."""
    stages = {"retrieve": {"type": "fts"}, "rerank": {"type": "colbert", "model": str(checkpoint)}}
    return parse_config({**stages, "device": "cpu", "dtype": "float32"}, "small")
