"""How runs look: tables for people, the documented JSON for programs, progress on stderr."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragqa.cli.show import note, plain, size
from ragqa.errors import UsageError

if TYPE_CHECKING:
    from ragqa.evaluate.comparison import Change
    from ragqa.evaluate.gate import Gate
    from ragqa.evaluate.judging import Judged
    from ragqa.evaluate.matrix import Progress
    from ragqa.evaluate.metrics import Metric
    from ragqa.evaluate.runs import Run, RunInfo
    from ragqa.evaluate.significance import Difference, Mean
    from ragqa.evaluate.tune import Tuned

# Without a terminal progress is a line now and then.
LINE_EVERY_S = 30.0
SHOWN_DOCUMENTS = 5


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
    if not details:
        return
    for row in rows:
        info = row.run.info
        where = f"ragqa {info.key.code_version}, {info.device}"
        print(plain(f"\n{row.label}: run {info.id} of {info.created}, {where}"))
        for stage, (median, tail) in row.latency_ms.items():
            print(f"  {stage:<16} p50 {median:,.1f} ms, p95 {tail:,.1f} ms")
        if row.cost is not None:
            print(f"  cost             ${row.cost:.4f}")


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
                **_about(run.info),
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
            **_about(info),
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
    print(plain(f"{first['id']}: {first['text']}"))
    for answer in first["golden_answers"]:
        print(plain(f"  golden answer: {answer}"))
    for shown in results:
        print(plain(f"\n{shown['name']}"))
        relevant = shown["relevant"]
        documents = dict.fromkeys(passage["document_id"] for passage in shown["result"]["ranking"])
        for rank, document in enumerate(list(documents)[:10], 1):
            print(plain(f"{rank:>4}. {document}{'  relevant' if relevant.get(document, 0) > 0 else ''}"))
        reply = shown["result"]["reply"]
        if reply:
            print(plain(f"  answer: {reply['text'].strip()}"))
        if shown["result"]["reason"]:
            print(plain(f"  failed: {shown['result']['reason']}"))


# -- comparisons ------------------------------------------------------------------------------


def print_differences(runs: Sequence[Run], differences: Sequence[Difference]) -> None:
    """Print, metric by metric, each pair's difference and whether it is more than chance."""
    for metric in dict.fromkeys(difference.metric for difference in differences):
        listed = [difference for difference in differences if difference.metric == metric]
        print(f"{metric}, {listed[0].mean.count:,} questions")
        table = [
            ["b less a", "difference", "95% interval", "p", "p (Holm)", "wins/ties/losses", "would show"]
        ]
        for one in listed:
            table.append(
                [
                    f"{one.b} less {one.a}",
                    f"{one.mean.value:+.3f}",
                    _interval(one.mean),
                    _p(one.p),
                    _p(one.adjusted_p),
                    f"{one.wins}/{one.ties}/{one.losses}",
                    _number(one.detectable),
                ]
            )
        print_table(table)
        certain = [one for one in listed if one.significant]
        for one in certain:
            print(plain(verdict(one)))
        if len(listed) == 1 and not certain:
            print(plain(verdict(listed[0])))
        elif not certain:
            print(f"None of these {len(listed):,} differences is significant: each could be chance.")
        elif len(certain) < len(listed):
            print(f"The other {len(listed) - len(certain):,} differences are not significant.")
        print()


def verdict(one: Difference) -> str:
    """Return what a difference says, in a sentence."""
    if not one.significant:
        if one.wins == one.losses == 0:
            return f"{one.a} and {one.b} do the same on every question."
        return (
            f"{one.a} and {one.b}: the difference is not significant. This set would have shown "
            f"{_number(one.detectable)} four times in five."
        )
    better, worse = (one.b, one.a) if one.mean.value > 0 else (one.a, one.b)
    return f"{better} is better than {worse}, by {abs(one.mean.value):.3f} (p {_p(one.adjusted_p)})."


def differences_json(runs: Sequence[Run], differences: Sequence[Difference]) -> dict[str, Any]:
    """Return the documented form of `eval compare --json`."""
    return {
        "runs": [_about(run.info) for run in runs],
        "differences": [difference_json(difference) for difference in differences],
    }


def difference_json(one: Difference) -> dict[str, Any]:
    return {
        "metric": one.metric,
        "a": one.a,
        "b": one.b,
        "difference": mean_json(one.mean),
        "p": one.p,
        "adjusted_p": one.adjusted_p,
        "significant": one.significant,
        "wins": one.wins,
        "ties": one.ties,
        "losses": one.losses,
        "detectable": _finite(one.detectable),
    }


def mean_json(mean: Mean) -> dict[str, Any]:
    """Return a mean with its interval; null where a single question has none."""
    return {
        "mean": round(mean.value, 6),
        "low": _finite(mean.low),
        "high": _finite(mean.high),
        "questions": mean.count,
    }


def diff_json(a: Run, b: Run, metric: str, changes: Sequence[Change]) -> dict[str, Any]:
    """Return the documented form of `eval diff --json`."""
    return {
        "a": _about(a.info),
        "b": _about(b.info),
        "metric": metric,
        "changes": [
            {
                "id": a.questions[change.place].id,
                "question": a.questions[change.place].text,
                "a": change.a,
                "b": change.b,
                "documents": [_documents(run, change, a) for run in (a, b)],
                "answers": [_said(run, change, a) for run in (a, b)],
            }
            for change in changes
        ],
    }


def print_diff(a: Run, b: Run, metric: str, changes: Sequence[Change], limit: int) -> None:
    better = sum(change.b > change.a for change in changes)
    print(f"{metric}: {b.label} is better on {better:,} questions, {a.label} on {len(changes) - better:,}.")
    for change in changes[:limit]:
        question = a.questions[change.place]
        print(plain(f"\n{question.id}: {question.text}"))
        relevant = [document for document, grade in question.relevant.items() if grade > 0]
        if relevant:
            print(plain(f"  relevant: {', '.join(relevant)}"))
        for run, value in ((a, change.a), (b, change.b)):
            found = ", ".join(_documents(run, change, a)[:SHOWN_DOCUMENTS]) or "nothing"
            print(plain(f"  {value:.3f} {run.info.name}: {found}"))
            said = _said(run, change, a)
            if said is not None:
                print(plain(f"        {' '.join(said.split())}"))
    if len(changes) > limit:
        note(f"{len(changes) - limit:,} more questions changed: --limit shows them.")


# -- gate, tuning, judges ---------------------------------------------------------------------


def gate_json(before: Run, now: Run, gate: Gate) -> dict[str, Any]:
    """Return the documented form of `eval check --json`."""
    return {
        "baseline": _about(before.info),
        "run": _about(now.info),
        "passed": not gate.losses,
        "differences": [difference_json(difference) for difference in gate.differences],
    }


def print_gate(before: Run, now: Run, gate: Gate) -> None:
    table = [["metric", "difference", "95% interval", "p (Holm)", "would show", ""]]
    for one in gate.differences:
        state = "LOSS" if one in gate.losses else "gain" if one.significant else "not significant"
        cells = [f"{one.mean.value:+.3f}", _interval(one.mean), _p(one.adjusted_p), _number(one.detectable)]
        table.append([one.metric, *cells, state])
    print_table(table, left=(0, 5))
    count = gate.differences[0].mean.count
    if gate.losses:
        names = ", ".join(one.metric for one in gate.losses)
        print(f"Significantly worse than the baseline {before.info.name} over {count:,} questions: {names}.")
    else:
        print(f"Not significantly worse than the baseline {before.info.name} over {count:,} questions.")


def tuned_json(tuned: Tuned, output: Path) -> dict[str, Any]:
    """Return the documented form of `eval tune --json`."""
    return {
        "written": str(output),
        "config": tuned.best.model_dump(mode="json"),
        "trials": [{"number": trial.number, "value": trial.value} for trial in tuned.trials],
        "held_back": difference_json(tuned.difference),
    }


def print_tuned(tuned: Tuned, output: Path) -> None:
    print(plain(tuned.yaml()), end="")
    one = tuned.difference
    print()
    print(
        f"On {one.mean.count:,} questions kept from the search: {one.mean.value:+.3f} {one.metric} "
        f"({_interval(one.mean)}), p {_p(one.p)}."
    )
    print(plain(verdict(one)))
    note(f"Written: {output}")


def judged_json(judged: Judged) -> dict[str, Any]:
    about = judged.agreement
    return {
        "a": judged.a,
        "b": judged.b,
        "grade": judged.grade,
        "questions": about.questions,
        "verdicts": about.verdicts,
        "failures": about.failures,
        "agreement": _finite(about.share),
        "position_bias": _finite(about.position_bias),
    }


def print_judged(judged: Sequence[Judged]) -> None:
    """Print what a judge made of runs, and how far it agrees with itself."""
    for one in judged:
        about = one.agreement
        points = "" if one.b is None else " of the points"
        grade = "no verdict" if one.grade is None else f"{one.grade:.3f}{points}"
        what = f"{one.a}: {grade}" if one.b is None else f"{one.a} against {one.b}: {grade}"
        same = "" if math.isnan(about.share) else f", agrees with itself on {about.share:.0%}"
        first = (
            ""
            if math.isnan(about.position_bias)
            else f", took the one shown first on {about.position_bias:.0%}"
        )
        failed = f", {about.failures:,} without a verdict" if about.failures else ""
        print(plain(f"Judge: {what} ({about.verdicts:,} verdicts{failed}{same}{first})"))


# -- tables and progress ----------------------------------------------------------------------


def print_table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> None:
    """Print rows of cells, the first being the heading, in columns as wide as they need."""
    widths = [max(len(plain(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            plain(cell).ljust(width) if column in left else plain(cell).rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


@contextmanager
def matrix_progress() -> Iterator[Callable[[Progress], None]]:
    """Show on stderr how far a matrix is: a bar on a terminal, elsewhere a line every half minute."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _line_by_line()
        return
    columns = (TextColumn("Asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, TextColumn("{task.fields[about]}"), console=console, transient=True) as bars:
        task = bars.add_task("", total=None, about="")

        def advance(progress: Progress) -> None:
            bars.update(task, completed=progress.done, total=progress.total, about=_so_far(progress))

        yield advance


def _line_by_line() -> Callable[[Progress], None]:
    start = last = time.monotonic()

    def advance(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_EVERY_S and progress.done:
            last = now
            left = (now - start) / progress.done * (progress.total - progress.done)
            about = _so_far(progress)
            print(
                f"{progress.done:,} of {progress.total:,}, about {left:,.0f} s left{about and ', ' + about}",
                file=sys.stderr,
                flush=True,
            )

    return advance


def _so_far(progress: Progress) -> str:
    parts = [
        f"{progress.failed:,} failed" if progress.failed else "",
        f"{progress.tokens:,} tokens" if progress.tokens else "",
        f"${progress.cost:.2f}" if progress.cost else "",
    ]
    return ", ".join(part for part in parts if part)


def _about(info: RunInfo) -> dict[str, Any]:
    return {
        "run": info.id,
        "name": info.name,
        "config": info.config_name,
        "model": info.key.model,
        "created": info.created,
        "corpus": info.corpus_path,
        "code_version": info.key.code_version,
        "device": info.device,
    }


def _documents(run: Run, change: Change, a: Run) -> list[str]:
    return run.results[_place(run, change, a)].documents


def _said(run: Run, change: Change, a: Run) -> str | None:
    reply = run.results[_place(run, change, a)].reply
    return None if reply is None else reply.text


def _place(run: Run, change: Change, a: Run) -> int:
    """Return where the question that changed is in `run`; its place is counted in `a`."""
    if run is a:
        return change.place
    wanted = a.questions[change.place].id
    return next(place for place, question in enumerate(run.questions) if question.id == wanted)


def _cell(mean: Mean | None, details: bool) -> str:
    if mean is None:
        return ""
    return f"{mean.value:.3f} {_interval(mean)}" if details else f"{mean.value:.3f}"


def _interval(mean: Mean) -> str:
    return "" if math.isnan(mean.low) else f"[{mean.low:.3f}, {mean.high:.3f}]"


def _p(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}"


def _number(value: float) -> str:
    return "nothing" if math.isnan(value) else f"{value:.3f}"


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
