"""Whole processes: cold starts, peak memory, time per stage, answers."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence

from ragqa.errors import RagqaError
from ragqa.pipeline import Pipeline
from tests.workshop.bench.late_interaction import opened
from tests.workshop.bench.material import Material
from tests.workshop.bench.measure import Row, peak_bytes, percentile, process_s, python, ragqa

RUNS = 7
QUESTION = "what is shot-scraper?"
ANSWERED = 10


def cold_starts(material: Material) -> Iterator[Row]:
    """Medians of runs in turn; the ratio says how many times the bare process ragqa takes."""
    commands = {
        "fts": ragqa("search", QUESTION, "-c", "fts", "--db", str(material.til)),
        "fts-colbert": ragqa("search", QUESTION, "-c", "fts-colbert", "--db", str(material.til)),
        "default": ragqa("search", QUESTION, "-c", "default", "--db", str(material.til)),
        "sqlite3": python("import sqlite3"),
        "python": python(""),
        "sentence_transformers": python("import sentence_transformers"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(RUNS + 1):
        for name, command in commands.items():
            seconds = process_s(command)
            if run:
                times[name].append(seconds)
    median = {name: statistics.median(values) for name, values in times.items()}
    for config, bare, limit in (
        ("fts", "sqlite3", 0.5),
        ("fts-colbert", "python", 1.2),
        ("default", "python", 1.2),
    ):
        over = statistics.median(a - b for a, b in zip(times[config], times[bare], strict=True))
        yield Row(
            work=f"a whole process: `ragqa search -c {config}`",
            ours=median[config] * 1000,
            unit="ms",
            peer='`python -c "import sqlite3"`' if bare == "sqlite3" else '`python -c ""`',
            theirs=median[bare] * 1000,
            reach=f"at most {limit:g} s over it",
            reached=over <= limit,
            note=f"{over:.2f} s over it; `import sentence_transformers` takes "
            f"{median['sentence_transformers']:.1f} s"
            if bare == "python"
            else f"{over:.2f} s over it",
        )


def memory(material: Material) -> Iterator[Row]:
    """Ingest and index the notes from nothing, each in a process of its own."""
    source = material.copy("memory")
    db = source.with_name("anew.db")
    db.unlink(missing_ok=True)
    table = ["--table", "documents", "--id", "id", "--title", "title", "--text", "text"]
    for name, command in (
        ("ingest", ragqa("ingest", str(source), *table, "--db", str(db))),
        ("index", ragqa("index", "--db", str(db))),
    ):
        seconds, peak = peak_bytes(command)
        yield Row(
            work=f"peak memory of `ragqa {name}`, all notes",
            ours=peak,
            unit="bytes",
            note=f"{seconds:.0f} s, whole process",
        )


def stages(material: Material) -> Iterator[Row]:
    """Time per stage of a question, all of SciFact's 300."""
    with opened("default", material.scifact) as pipeline:
        pipeline.search("warm up")
        pipeline.search("warm up again")
        timings = [pipeline.search(question).timings_ms for question in material.scifact_questions]
    for stage in timings[0]:
        values = [timing[stage] for timing in timings]
        yield _percentiles(f"`default`, stage {stage}, 300 questions", values)
    yield _percentiles("`default`, whole question", [sum(timing.values()) for timing in timings])


def _percentiles(work: str, values: Sequence[float]) -> Row:
    note = f"p50; p95 {percentile(values, 0.95):.3g} ms"
    return Row(work=work, ours=percentile(values, 0.5), unit="ms", note=note)


def answers(material: Material) -> Iterator[Row]:
    """Time to the first piece of an answer and to its end, without writing llm's log."""
    from ragqa.answer.models import find_model

    with opened("default", material.til) as pipeline:
        for model in ("extractive", "SmolLM2"):
            try:
                find_model(model)
            except RagqaError as error:
                print(f"{model} is left out: {error}", file=sys.stderr)
                continue
            asked = material.til_questions[: ANSWERED + 1]
            # The first loads the model.
            times = [_answer_ms(pipeline, model, question) for question in asked][1:]
            first, total = zip(*times, strict=True)
            yield Row(
                work=f"`ask -m {model}`, to the whole answer",
                ours=statistics.median(total),
                unit="ms",
                note=f"median of {ANSWERED}; first token after {statistics.median(first):.3g} ms",
            )


def _answer_ms(pipeline: Pipeline, model: str, question: str) -> tuple[float, float]:
    """Return the milliseconds to the first piece of the answer and to all of it."""
    seen: list[float] = []
    start = time.perf_counter()
    pipeline.ask(question, model=model, log=False, on_text=lambda text: seen.append(time.perf_counter()))
    end = time.perf_counter()
    return (min([*seen, end]) - start) * 1000, (end - start) * 1000
