"""Many readers beside writers, and two writers at once: `python -m tests.stress.crowd`."""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from ragqa.corpus.database import Corpus
from ragqa.errors import RagqaError
from ragqa.pipeline import Pipeline
from ragqa.types import Answer, Passage, SearchResult
from tests.stress.kills import INGEST
from tests.stress.material import Yard
from tests.stress.state import copied, faults, read_state

INDEX = ("index", "-c", "exact.yaml", "--db", "c.db")
# What a reader may be told while the corpus changes under it.
EXPECTED = ("no dense vectors yet", "no token vectors yet", "Another process is writing")


@dataclass
class Asked:
    """What the readers got, by kind, and what was wrong with it."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


# A document's id and the text of one of its passages.
Known = Set[tuple[str, str]]


def ask(
    path: Path, config: str, questions: Sequence[str], known: Known, stop: threading.Event, asked: Asked
) -> None:
    """Ask one question after the other until `stop`; each reader has a pipeline of its own."""
    try:
        pipeline = Pipeline.from_config(config, path)
    except Exception as error:
        asked.faults.append(f"{config}: a reader cannot open the corpus: {type(error).__name__}: {error}")
        return
    with pipeline:
        for turn in itertools.count():
            if stop.is_set():
                return
            question = questions[turn % len(questions)]
            try:
                found = [pipeline.search(question, 10)]
                answer = pipeline.ask(question, model="extractive", log=False) if turn % 5 == 0 else None
            except RagqaError as error:
                kind = "told to wait" if any(text in str(error) for text in EXPECTED) else "refused"
                asked.counts[kind] += 1
                if kind == "refused":
                    asked.faults.append(f"{config}: {error}")
            except Exception as error:
                asked.faults.append(f"{config}: {type(error).__name__}: {error}")
            else:
                asked.counts["searched"] += 1
                if answer:
                    asked.counts["answered"] += 1
                    asked.faults += [f"{config}: {fault}" for fault in answer_faults(answer, known)]
                    found.append(answer.search)
                asked.faults += [
                    f"{config}: {fault}" for result in found for fault in search_faults(result, known)
                ]


def search_faults(result: SearchResult, known: Known) -> list[str]:
    """Return what is wrong with a search: its ranks, and passages that are none of the `known`."""
    ranks = [hit.rank for hit in result.hits]
    keys = {hit.passage.rowid for hit in result.hits}
    faults = strangers([hit.passage for hit in result.hits], known)
    if not ranks or ranks != list(range(1, len(ranks) + 1)) or len(keys) != len(ranks):
        faults.append(f"{result.question!r} gives ranks {ranks} of {len(keys)} passages")
    return faults


def answer_faults(answer: Answer, known: Known) -> list[str]:
    """Return what is wrong with an answer of `extractive`: no citation, or one of a passage not `known`."""
    if not answer.refused and not answer.citations:
        return [f"{answer.search.question!r} is answered without a citation: {answer.text!r}"]
    return strangers([citation.passage for citation in answer.citations], known)


def strangers(passages: Sequence[Passage], known: Known) -> list[str]:
    """Return a sentence for each passage that is none of the `known`."""
    return [
        f"{passage.id} is of no state of the corpus: {passage.text[:80]!r}"
        for passage in passages
        if (passage.document_id, passage.text) not in known
    ]


def passages(path: Path) -> set[tuple[str, str]]:
    """Return the passages of the corpus at `path`, as readers may find them."""
    with Corpus.open(path) as corpus:
        rows = corpus.connection.execute(
            "SELECT d.id, p.text FROM passages p JOIN documents d ON d.rowid = p.document"
        )
        return {(document, text) for document, text in rows}


def crowd(yard: Yard, readers: int, rounds: int) -> Asked:
    """Let `readers` threads ask while a process ingests and indexes two states of the notes in turn."""
    yard.restore("changed")
    changed = (yard.work / "notes.ndjson").read_bytes()
    first = (yard.root / "indexed" / "notes.ndjson").read_bytes()
    known = passages(yard.work / "c.db")
    yard.must(*INGEST[:-1], "other.db")
    known |= passages(yard.work / "other.db")
    questions = [note["title"] for note in yard.notes]
    asked, stop = Asked(), threading.Event()
    configs = ("fts", "default", "fts", "hybrid")
    threads = [
        threading.Thread(
            target=ask,
            args=(yard.work / "c.db", configs[n % 4], questions[n:] + questions[:n], known, stop, asked),
        )
        for n in range(readers)
    ]
    for thread in threads:
        thread.start()
    try:
        for turn in range(rounds):
            (yard.work / "notes.ndjson").write_bytes(first if turn % 2 else changed)
            for args in ((*INGEST, "--prune"), INDEX):
                code, said = yard.run(*args)
                asked.counts["writers"] += 1
                if code:
                    asked.faults.append(f"{args[0]} ended with {code}: {said}")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    asked.faults += faults(copied(yard.work / "c.db", yard.root / "copy"))
    return asked


def two_writers(yard: Yard, times: int) -> Asked:
    """Start two writers at once: one waits or stops with a sentence, and the end is as if one had come."""
    asked = Asked()
    yard.restore("changed")
    for args in ((*INGEST, "--prune"), INDEX):
        yard.must(*args)
    wanted = read_state(yard.work / "c.db")
    for turn in range(times):
        yard.restore("changed")
        first, second = (*INGEST, "--prune"), ((*INGEST, "--prune") if turn % 2 else INDEX)
        processes = [yard.start(*args) for args in (first, second)]
        for process in processes:
            _, said = process.communicate(timeout=120)
            if process.returncode:
                asked.counts["stopped with a sentence"] += 1
                if process.returncode != 1 or "Another process is writing" not in said:
                    asked.faults.append(f"a writer ended with {process.returncode}: {said}")
            else:
                asked.counts["done"] += 1
        asked.faults += faults(copied(yard.work / "c.db", yard.root / "copy"))
        for args in ((*INGEST, "--prune"), INDEX):
            yard.must(*args)
        asked.faults += wanted.differences(read_state(yard.work / "c.db"))
    # One that waits in vain is told so.
    with Corpus.open(yard.work / "c.db") as corpus, corpus.writing():
        code, said = yard.run("remove", yard.notes[0]["slug"], "--db", "c.db")
        asked.counts["stopped with a sentence"] += code == 1 and "Another process is writing" in said
    return asked


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=6, help="of ingest and index beside the readers")
    parser.add_argument("--writers", type=int, default=6, help="pairs of writers at once")
    parser.add_argument("--notes", type=int, default=24)
    options = parser.parse_args(argv)
    wrong: list[str] = []
    with TemporaryDirectory(prefix="ragqa-crowd-") as folder:
        yard = Yard(Path(folder), options.notes)
        for name, work in (
            (
                f"{options.readers} readers beside writers",
                lambda: crowd(yard, options.readers, options.rounds),
            ),
            (f"{options.writers} pairs of writers", lambda: two_writers(yard, options.writers)),
        ):
            started = time.monotonic()
            asked = work()
            wrong += asked.faults
            counts = ", ".join(f"{count:,} {kind}" for kind, count in asked.counts.items())
            seconds = time.monotonic() - started
            print(f"{name}: {counts}; {len(asked.faults)} faults; {seconds:,.0f} s", flush=True)
    for fault in wrong[:20]:
        print(f"FAULT {fault}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
