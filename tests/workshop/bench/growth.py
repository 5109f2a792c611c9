"""How time, file and memory grow with the corpus: synthetic passages, sentences of the notes drawn at random.

Not part of `make bench`: 100,000 passages take a quarter of an hour to encode.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from ragqa.answer.sentences import split_sentences
from ragqa.corpus.database import Corpus
from tests.workshop.bench.late_interaction import opened
from tests.workshop.bench.material import Material
from tests.workshop.bench.measure import Row, peak_bytes, ragqa

SIZES = (1_000, 10_000, 100_000)
SENTENCES = 2
QUESTIONS = 20


def growth(material: Material, sizes: Sequence[int] = SIZES) -> Iterator[Row]:
    """Ingest, index and ask at each size; every document is one short passage."""
    sentences = _sentences(material)
    for size in sizes:
        folder = material.folder / "growth"
        folder.mkdir(parents=True, exist_ok=True)
        source, db = folder / f"{size}.ndjson", folder / f"{size}.db"
        _write(source, sentences, size)
        db.unlink(missing_ok=True)
        fields = ("--id", "id", "--title", "title", "--text", "text")
        ingest_s, ingest_peak = peak_bytes(ragqa("ingest", str(source), *fields, "--db", str(db)))
        index_s, index_peak = peak_bytes(ragqa("index", "--db", str(db)))
        passages = f"{size:,} passages"
        yield Row(f"ingest {passages}", ingest_s, "s", note=f"peak {ingest_peak / 2**20:,.0f} MiB")
        yield Row(
            f"index {passages}",
            index_s,
            "s",
            note=f"peak {index_peak / 2**20:,.0f} MiB, file {db.stat().st_size / 2**20:,.0f} MiB",
            reach="under 2 GiB" if size == max(sizes) else "",
            reached=max(ingest_peak, index_peak) < 2**31 if size == max(sizes) else None,
        )
        for config in ("fts", "default", "colbert-shortlist", "colbert-exact"):
            yield _question(config, db, material.til_questions[: QUESTIONS + 2], passages)


def _question(config: str, db: Path, questions: Sequence[str], passages: str) -> Row:
    with opened(config, db) as pipeline:
        times = [sum(pipeline.search(question).timings_ms.values()) for question in questions]
    # The first two load and pack.
    return Row(f"a question of `{config}`, {passages}", statistics.median(times[2:]), "ms")


def _sentences(material: Material) -> list[str]:
    with Corpus.open(material.til) as corpus:
        texts = [row[0] for row in corpus.connection.execute("SELECT text FROM passages ORDER BY rowid")]
    found = [text[start:end] for text in texts for start, end in split_sentences(text)]
    return [sentence for sentence in found if 20 < len(sentence) < 200]


def _write(path: Path, sentences: Sequence[str], size: int) -> None:
    generator = random.Random(size)
    with path.open("w", encoding="utf-8") as file:
        for number in range(size):
            drawn = generator.sample(sentences, SENTENCES)
            record = {"id": str(number), "title": drawn[0][:40], "text": " ".join(drawn)}
            file.write(json.dumps(record) + "\n")
