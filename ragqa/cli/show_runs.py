"""How runs look: tables for people, the documented JSON for programs, progress on stderr."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.cli.figures import about, interval, mean_json
from ragqa.cli.show import has_bars, note, print_table, say, say_text
from ragqa.cli.show_comparisons import judged_json
from ragqa.errors import UsageError
from ragqa.service.forms import size

if TYPE_CHECKING:
    from ragqa.evaluate.judging import Judged
    from ragqa.evaluate.matrix import Progress
    from ragqa.evaluate.metrics import Metric
    from ragqa.evaluate.runs import Run, RunInfo
    from ragqa.evaluate.significance import Mean

# Without a terminal progress is a line now and then.
LINE_EVERY_S = 30.0


# -- what runs are worth ----------------------------------------------------------------------


def print_summary(runs: Sequence[Run], metrics: Sequence[Metric] | None, *, details: bool = False) -> None:
    """Print a row of metrics for each run; with `details` also intervals, each stage's times, what it was."""
    from ragqa.evaluate.comparison import summarise

    rows = summarise(runs, metrics)
    names = list(dict.fromkeys(name for row in rows for name in row.means))
    tokens = any(row.tokens for row in rows)
    table = [["run", *names, "p50 ms", "p95 ms", "index", *(["tokens"] if tokens else [])]]
    for row in rows:
        total = row.latency_ms.get("total")
        times = [f"{value:,.0f}" for value in total] if total else ["", ""]
        cells = [_cell(row.means.get(name), details) for name in names]
        count = [f"{row.tokens:,}" if row.tokens else ""] if tokens else []
        table.append([row.label, *cells, *times, size(row.run.info.index_bytes), *count])
    print_table(table)
    for row in rows:
        counts = row.refusals
        if counts is not None and counts.unanswerable:
            say(
                f"{row.label} refused {counts.right} of {counts.unanswerable} unanswerable questions, and "
                f"wrongly {counts.wrong} of {counts.answerable} others."
            )
    if not details:
        return
    for row in rows:
        info = row.run.info
        where = f"ragqa {info.key.code_version}, {info.device}"
        say()
        say(f"{row.label}: run {info.id} of {info.created}, {where}")
        for stage, (median, tail) in row.latency_ms.items():
            say(f"  {stage:<16} p50 {median:,.1f} ms, p95 {tail:,.1f} ms")
        if row.cost is not None:
            say(f"  cost             ${row.cost:.4f}")


def runs_json(
    runs: Sequence[Run], metrics: Sequence[Metric] | None, judged: Sequence[Judged]
) -> dict[str, Any]:
    """Return the documented form of `eval run --json` and `eval show --json`."""
    from ragqa.evaluate.comparison import summarise

    listed = []
    for row in summarise(runs, metrics):
        run = row.run
        listed.append(
            {
                **about(run.info),
                "question_set": run.question_set.name,
                "questions": len(run.questions),
                "done": len(run.results) - len(run.failed),
                "failed": {run.questions[place].id: result.reason for place, result in run.failed.items()},
                "absent": dict(run.info.absent),
                "metrics": {name: mean_json(mean) for name, mean in row.means.items()},
                "latency_ms": {
                    stage: {"p50": round(median, 2), "p95": round(tail, 2)}
                    for stage, (median, tail) in row.latency_ms.items()
                },
                "index_bytes": run.info.index_bytes,
                "tokens": row.tokens,
                "cost": row.cost,
                "refusals": None if row.refusals is None else asdict(row.refusals),
            }
        )
    return {"runs": listed, **({"judged": [judged_json(one) for one in judged]} if judged else {})}


def note_troubles(runs: Sequence[Run]) -> None:
    """Say what makes figures less than they seem: failures, absent documents, what was not asked yet."""
    absent: dict[str, list[str]] = {}
    for run in runs:
        absent.update(run.info.absent)
        left = len(run.questions) - len(run.results)
        if left:
            note(f"{run.label}: {left:,} questions were not asked yet (ragqa eval run --resume asks them).")
        if run.failed:
            place, first = next(iter(run.failed.items()))
            note(
                f"{run.label}: {len(run.failed):,} questions failed and count in no metric of answers "
                f"(--resume asks them again). The first, {run.questions[place].id}: {first.reason}"
            )
    if absent:
        identifier, documents = next(iter(absent.items()))
        note(
            f"{len(absent):,} questions have relevant documents that are not in the corpus and cannot be "
            f"found, such as {documents[0]!r} of {identifier}."
        )


# -- what is stored ---------------------------------------------------------------------------


def list_json(
    infos: Sequence[RunInfo], counts: Mapping[int, tuple[int, int, int]], sets: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the documented form of `eval list --json`."""
    return [
        {
            **about(info),
            "question_set": sets[info.key.question_set],
            "done": counts[info.id][0],
            "failed": counts[info.id][1],
            "questions": counts[info.id][2],
        }
        for info in infos
    ]


def print_list(listed: Sequence[Mapping[str, Any]]) -> None:
    table = [["run", "name", "questions", "done", "failed", "corpus", "when"]]
    for run in listed:
        done = f"{run['done']:,} of {run['questions']:,}"
        table.append(
            [
                str(run["run"]),
                str(run["name"]),
                str(run["question_set"]),
                done,
                str(run["failed"] or ""),
                Path(str(run["corpus"])).name,
                str(run["created"])[:16].replace("T", " "),
            ]
        )
    print_table(table, left=(0, 1, 2, 5, 6))


def result_json(run: Run, question: str) -> dict[str, Any]:
    """Return all that a run has of one question; raises UsageError when it was not asked it."""
    place = next((place for place, asked in enumerate(run.questions) if asked.id == question), None)
    if place is None or place not in run.results:
        raise UsageError(f"The run {run.label} has no result for a question {question!r}.")
    asked = run.questions[place]
    return {"run": run.info.id, "name": run.info.name, **asdict(asked), "result": asdict(run.results[place])}


def print_results(results: Sequence[Mapping[str, Any]]) -> None:
    first = results[0]
    say(f"{first['id']}: {first['text']}")
    for answer in first["golden_answers"]:
        say(f"  golden answer: {answer}")
    for shown in results:
        say()
        say(f"{shown['name']}")
        relevant = shown["relevant"]
        documents = dict.fromkeys(passage["document_id"] for passage in shown["result"]["ranking"])
        for rank, document in enumerate(list(documents)[:10], 1):
            say(f"{rank:>4}. {document}{'  relevant' if relevant.get(document, 0) > 0 else ''}")
        reply = shown["result"]["reply"]
        if reply:
            say_text(textwrap.indent(f"answer: {reply['text'].strip()}", "  "))
        if shown["result"]["reason"]:
            say(f"  failed: {shown['result']['reason']}")


# -- tables and progress ----------------------------------------------------------------------


@contextmanager
def matrix_progress() -> Iterator[Callable[[Progress], None]]:
    """Show on stderr how far a matrix is: a bar on a terminal, elsewhere a line every half minute."""
    if not has_bars():
        yield _line_by_line()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("Asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, TextColumn("{task.fields[about]}"), console=console, transient=True) as bars:
        task = bars.add_task("", total=None, about="")

        def advance(progress: Progress) -> None:
            bars.update(task, completed=progress.done, total=progress.total, about=_so_far(progress))

        yield advance


def _line_by_line() -> Callable[[Progress], None]:
    last = time.monotonic()
    # When the first question was done: what models take to load says nothing of the others.
    start: float | None = None

    def advance(progress: Progress) -> None:
        nonlocal last, start
        now = time.monotonic()
        if start is None and progress.done:
            start = now
        if now - last >= LINE_EVERY_S and progress.done > 1 and start is not None:
            last = now
            left = (now - start) / (progress.done - 1) * (progress.total - progress.done)
            about = _so_far(progress)
            note(f"{progress.done:,} of {progress.total:,}, about {left:,.0f} s left{about and ', ' + about}")

    return advance


def _so_far(progress: Progress) -> str:
    parts = [
        f"{progress.failed:,} failed" if progress.failed else "",
        f"{progress.tokens:,} tokens" if progress.tokens else "",
        f"${progress.cost:.2f}" if progress.cost else "",
    ]
    return ", ".join(part for part in parts if part)


def _cell(mean: Mean | None, details: bool) -> str:
    if mean is None:
        return ""
    return f"{mean.value:.3f} {interval(mean)}" if details else f"{mean.value:.3f}"
