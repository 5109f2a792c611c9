"""The long run: thousands of questions to `ragqa serve` while its corpus changes and faults come between.

Run it from the repository root: python -m tests.stress.load
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.conftest import SHARED, write_notes
from tests.stress.serving import Served, Usage, Writer, environment, ragqa, serving
from tests.stress.state import faults
from tests.stress.traffic import Client, Material

NOTES_QUESTIONS = (
    "How many grams of beans for one litre of water?",
    "How hot is green tea steeped?",
    "How is a flat tyre mended?",
    "How many hours of sun do tomatoes need?",
    "Which valve was opened?",
)
# Til notes in the corpus: so many that searches cost what they do in use, and are indexed in a minute.
TIL = 150
# Questions before memory is compared: by then every pipeline has been made, and what is kept for later
# questions is nearly as much as it may become.
WARM_UP = 1_000
SAMPLE_S = 0.5
SHOW_EVERY = 200
# What is told as a leak.
MOST_SLOPE_MB = 10.0
MOST_MORE = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked; `share` is how often each kind of fault comes before a question."""

    questions: int = 3_000
    clients: int = 8
    share: float = 0.05
    warm_up: int = WARM_UP
    seed: int = 1
    til: int = TIL
    changing: int = 20
    pause_s: float = 0.5


@dataclass(slots=True)
class Tally:
    """What came of it: times of answers by kind, faults that were injected, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    samples: list[tuple[int, float]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def answered(self) -> int:
        return sum(map(len, self.seconds.values()))

    def answer(self, kind: str, seconds: float) -> None:
        with self._lock:
            self.seconds[kind].append(seconds)

    def fault(self, kind: str) -> None:
        with self._lock:
            self.faults[kind] += 1

    def error(self, kind: str, error: Exception) -> None:
        name = f"{kind}: {type(error).__name__}"
        with self._lock:
            self.errors[name] += 1
            self.examples.setdefault(name, str(error)[:500])


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of a run; `slope_mb` is resident memory per 1,000 questions, by least squares."""

    tally: Tally
    seconds: float
    warm: Usage
    end: Usage
    slope_mb: float
    rounds: int
    busy: int
    writer_failures: Sequence[str]
    tracebacks: int
    damage: Sequence[str]
    wal_mb: float
    exit_code: int | None

    def faults(self, most_slope_mb: float = MOST_SLOPE_MB) -> list[str]:
        """Return what a long run must not end with; nothing where all is well."""
        said = [f"{count} x {name}" for name, count in self.tally.errors.items()]
        said += [f"the writer failed: {failure}" for failure in self.writer_failures]
        said += [f"the file: {problem}" for problem in self.damage]
        if self.tracebacks:
            said.append(f"the server wrote {self.tracebacks} tracebacks")
        if self.exit_code != 130:
            said.append(f"the server ended with exit code {self.exit_code}")
        if self.slope_mb > most_slope_mb:
            said.append(f"memory grows by {self.slope_mb:.1f} MB per 1,000 questions")
        for name, before, after in (
            ("files", self.warm.files, self.end.files),
            ("threads", self.warm.threads, self.end.threads),
        ):
            if after - before > MOST_MORE:
                said.append(f"{name} open: {before} after warm-up, {after} at the end")
        return said


def run(plan: Plan, folder: Path) -> Outcome:
    """Serve a corpus made in `folder`, load it as `plan` says, and return the figures."""
    env = environment(folder)
    db, questions = make_corpus(folder, plan.til, env)
    writer = Writer(db, folder / "changing", env, plan.changing, plan.pause_s)
    writer.round()
    material = Material(questions, _documents(db))
    tally = Tally()
    with serving(db, folder, env) as served:
        start = time.perf_counter()
        writer.start()
        try:
            with sampling(served, tally):
                _ask(served, material, plan, plan.warm_up, tally, seed=plan.seed)
                warm = served.resting()
                _ask(served, material, plan, plan.questions - plan.warm_up, tally, seed=plan.seed + 1000)
                seconds = time.perf_counter() - start
                end = served.resting()
        finally:
            writer.stop()
        wal = Path(f"{db}-wal")
        wal_mb = wal.stat().st_size / 1e6 if wal.exists() else 0.0
    return Outcome(
        tally,
        seconds,
        warm,
        end,
        slope([sample for sample in tally.samples if sample[0] >= plan.warm_up]),
        writer.rounds,
        writer.busy,
        writer.failures,
        served.tracebacks(),
        faults(db, question=questions[0]),
        wal_mb,
        served.process.returncode,
    )


def make_corpus(folder: Path, til: int, env: dict[str, str]) -> tuple[Path, Sequence[str]]:
    """Return an indexed corpus, of til notes where the shared data is there, and questions for it."""
    db = folder / "load.db"
    source = SHARED / "til.ndjson"
    if til and source.is_file():
        some = folder / "til.ndjson"
        lines = source.read_text(encoding="utf-8").splitlines()
        some.write_text("\n".join(lines[:: max(1, len(lines) // til)][:til]), encoding="utf-8")
        asked = (SHARED / "til_questions.jsonl").read_text(encoding="utf-8").splitlines()
        questions = [json.loads(line)["question"] for line in asked] + ["Which valve was opened?"] * 10
        sources: tuple[str | Path, ...] = (some, "--id", "slug", "--title", "title", "--text", "body")
    else:
        questions, sources = list(NOTES_QUESTIONS), (write_notes(folder / "notes"),)
    for args in (("ingest", *sources), ("index",), ("index", "-c", "dense")):
        subprocess.run(ragqa(*args, "--quiet", "--db", db), check=True, env=env, stdout=subprocess.DEVNULL)
    return db, questions


def _documents(db: Path) -> list[str]:
    with closing(sqlite3.connect(db)) as connection:
        # The notes that change are asked for as often as all others together.
        return [
            row[0]
            for row in connection.execute(
                "SELECT id FROM documents WHERE id NOT LIKE 'changing-%' LIMIT 20"
            ).fetchall()
            + connection.execute("SELECT id FROM documents WHERE id LIKE 'changing-%' LIMIT 20").fetchall()
        ]


def _ask(served: Served, material: Material, plan: Plan, count: int, tally: Tally, *, seed: int) -> None:
    """Ask `count` questions from as many clients as planned, each with a thread of its own."""
    left = iter(range(count))
    taking = threading.Lock()

    def client(number: int) -> None:
        with closing(Client(served.port, material, seed + number)) as one:
            while True:
                with taking:
                    if next(left, None) is None:
                        return
                for kind, fault in (
                    ("failing model", one.failing_model),
                    ("hang-up", one.hang_up),
                    ("malformed", one.malformed),
                ):
                    if one.random.random() < plan.share:
                        tally.fault(kind)
                        _try(one, kind, fault, tally)
                kind = one.kind()
                start = time.perf_counter()
                if _try(one, kind, lambda kind=kind: one.ask(kind), tally):
                    tally.answer(kind, time.perf_counter() - start)

    threads = [threading.Thread(target=client, args=[number]) for number in range(plan.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _try(client: Client, kind: str, send: Callable[[], None], tally: Tally) -> bool:
    try:
        send()
    except Exception as error:
        # Whatever it is, it is counted, and the client goes on with a new connection.
        tally.error(kind, error)
        client.again()
        return False
    return True


@contextmanager
def sampling(served: Served, tally: Tally) -> Iterator[None]:
    """Take down the server's memory twice a second, by how many questions were answered."""
    stop = threading.Event()
    start = time.perf_counter()
    shown = 0

    def sample() -> None:
        nonlocal shown
        while not stop.wait(SAMPLE_S) and served.process.poll() is None:
            answered, memory = tally.answered, served.usage().rss_mb
            tally.samples.append((answered, memory))
            if answered - shown >= SHOW_EVERY:
                shown = answered
                seconds = time.perf_counter() - start
                print(f"{answered:,} answered, {seconds:.0f} s, {memory:.0f} MB", file=sys.stderr, flush=True)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def slope(samples: Sequence[tuple[int, float]]) -> float:
    """Return by how many MB memory grows per 1,000 questions: the line of least squares."""
    if len({count for count, _ in samples}) < 2:
        return 0.0
    counts, memory = np.array(samples, dtype=float).T
    return float(np.polyfit(counts, memory, 1)[0] * 1000)


def report(outcome: Outcome) -> str:
    """Return the figures as lines."""
    tally = outcome.tally
    lines = [
        f"Questions answered: {tally.answered:,} in {outcome.seconds:.0f} s, with {outcome.rounds} rounds of "
        f"ingest and index beside them, {outcome.busy} commands of which found the server writing",
        "Injected: " + ", ".join(f"{count} x {kind}" for kind, count in sorted(tally.faults.items())),
    ]
    for kind, seconds in sorted(tally.seconds.items()):
        middle, late = np.percentile(seconds, [50, 95]) * 1000
        lines.append(f"  {kind:<12} {len(seconds):5,}   p50 {middle:6.0f} ms   p95 {late:6.0f} ms")
    warm, end = outcome.warm, outcome.end
    lines += [
        f"Memory: {warm.rss_mb:.0f} MB after warm-up, {end.rss_mb:.0f} MB at the end, slope "
        f"{outcome.slope_mb:+.1f} MB per 1,000 questions",
        f"Open files: {warm.files} after warm-up, {end.files} at the end; "
        f"threads: {warm.threads}, {end.threads}",
        f"Corpus file: {'; '.join(outcome.damage) or 'whole'}; write-ahead log {outcome.wal_mb:.1f} MB",
    ]
    faults = outcome.faults()
    lines.append(f"Errors: {'; '.join(faults) or 'none'}")
    lines += [f"  {name}: {example}" for name, example in tally.examples.items()]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the load and print its figures; the exit code is 1 where something went wrong."""
    usual = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.stress.load", description=__doc__)
    parser.add_argument("--questions", type=int, default=usual.questions)
    parser.add_argument("--clients", type=int, default=usual.clients)
    parser.add_argument("--share", type=float, default=usual.share, help="Of each kind of fault.")
    parser.add_argument("--warm-up", type=int, default=usual.warm_up, help="Questions before memory counts.")
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument(
        "--til", type=int, default=usual.til, help="Notes in the corpus; 0: those of the tests."
    )
    parser.add_argument("--keep", action="store_true", help="Keep the folder with the corpus and the log.")
    given = parser.parse_args(argv)
    warm_up = min(given.warm_up, given.questions // 2)
    plan = Plan(given.questions, given.clients, given.share, warm_up, given.seed, given.til)
    folder = Path(tempfile.mkdtemp(prefix="ragqa-load-"))
    try:
        outcome = run(plan, folder)
        print(report(outcome))
    finally:
        if given.keep:
            print(f"Kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if outcome.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
