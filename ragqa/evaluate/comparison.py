"""Runs against each other over the same questions: means, differences, what changed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ragqa.errors import UsageError
from ragqa.evaluate import significance
from ragqa.evaluate.metrics import Metric, Values, default_metrics, parse_metrics, values
from ragqa.evaluate.runs import Run, labels
from ragqa.evaluate.significance import Difference, Mean


@dataclass(frozen=True, slots=True)
class Refusals:
    """How many of the `unanswerable` questions were `right`ly refused, of the `answerable` ones `wrong`ly."""

    right: int
    unanswerable: int
    wrong: int
    answerable: int


@dataclass(frozen=True, slots=True)
class Row:
    """What a run is worth: a mean by metric, latency by stage as (median, 95th percentile), totals.

    Times are in milliseconds; `tokens` and `cost` are sums over the questions, None where not told.
    """

    run: Run
    label: str
    means: Mapping[str, Mean]
    latency_ms: Mapping[str, tuple[float, float]]
    tokens: int | None
    cost: float | None
    refusals: Refusals | None


@dataclass(frozen=True, slots=True)
class Change:
    """One question that two runs answered differently well; `a` and `b` are its values."""

    place: int
    a: float
    b: float


def summarise(runs: Sequence[Run], metrics: Sequence[Metric] | None = None) -> list[Row]:
    """Return a row for each run; without `metrics`, of all that apply to one of them."""
    chosen = list(metrics) if metrics is not None else default_metrics(runs)
    rows = []
    for run, label in zip(runs, labels(runs), strict=True):
        found = values(run, chosen)
        replies = [result.reply for result in run.results.values() if result.reply is not None]
        counted = [
            (r.input_tokens or 0) + (r.output_tokens or 0) for r in replies if r.output_tokens is not None
        ]
        costs = [reply.cost for reply in replies if reply.cost is not None]
        rows.append(
            Row(
                run=run,
                label=label,
                means=mean_values(found),
                latency_ms=latency(run),
                tokens=sum(counted) if counted else None,
                cost=sum(costs) if costs else None,
                refusals=refusals(run) if replies else None,
            )
        )
    return rows


def refusals(run: Run) -> Refusals:
    """Count the questions that were rightly and wrongly refused, of those that were answered at all."""
    right, wrong = [], []
    for place, result in run.results.items():
        question = run.questions[place]
        if result.reply is not None and question.unanswerable:
            right.append(result.reply.refused)
        elif result.reply is not None and (question.judged or question.golden_answers):
            wrong.append(result.reply.refused)
    return Refusals(sum(right), len(right), sum(wrong), len(wrong))


def latency(run: Run) -> dict[str, tuple[float, float]]:
    """Return the median and 95th percentile of each stage's milliseconds, and of "total"."""
    times: dict[str, list[float]] = {}
    for result in run.results.values():
        # A failed call has no time of the model, so its total would be none of an answer.
        if result.status == "done":
            for stage, took in result.timings_ms.items():
                times.setdefault(stage, []).append(took)
            times.setdefault("total", []).append(sum(result.timings_ms.values()))
    return {
        stage: (float(np.quantile(took, 0.5)), float(np.quantile(took, 0.95)))
        for stage, took in times.items()
    }


def compare_runs(
    runs: Sequence[Run], names: Sequence[str] | None = None, baseline: Run | None = None
) -> list[Difference]:
    """Return the differences of all pairs (or of each run to `baseline`) on each metric, metric by metric.

    A pair is compared over the questions that both have a value for. Raises UsageError when runs
    share no questions or there is nothing to compare.
    """
    if len(runs) < 2:
        raise UsageError("There is nothing to compare: name two runs (ragqa eval list).")
    places = shared_places(runs)
    metrics = parse_metrics(names) if names else default_metrics(runs)
    pairs = [(baseline, run) for run in runs if run is not baseline] if baseline else []
    pairs = pairs or list(itertools.combinations(runs, 2))
    # Not by number: a baseline from a file has the number that it had in another store.
    label_of = dict(zip(map(id, runs), labels(runs), strict=True))
    found = {id(run): _by_question(run, metrics, table) for run, table in zip(runs, places, strict=True)}
    differences: list[Difference] = []
    for metric in metrics:
        columns = []
        for a, b in pairs:
            of_a, of_b = found[id(a)][metric.name], found[id(b)][metric.name]
            both = [identifier for identifier in of_a if identifier in of_b]
            if both:
                change = np.array([of_b[identifier] - of_a[identifier] for identifier in both])
                columns.append((label_of[id(a)], label_of[id(b)], change))
        differences += significance.compare(columns, metric.name)
    return differences


def changes(a: Run, b: Run, metric: str) -> list[Change]:
    """Return the questions whose value differs, the largest difference first, by their place in `a`."""
    places = shared_places([a, b])
    metrics = parse_metrics([metric])
    of_a, of_b = (
        _by_question(run, metrics, table)[metrics[0].name] for run, table in zip((a, b), places, strict=True)
    )
    place_of = {question.id: place for place, question in enumerate(a.questions)}
    found = [
        Change(place_of[identifier], of_a[identifier], of_b[identifier])
        for identifier in of_a
        if identifier in of_b and of_a[identifier] != of_b[identifier]
    ]
    return sorted(found, key=lambda change: (-abs(change.b - change.a), change.place))


def shared_places(runs: Sequence[Run]) -> list[dict[str, int]]:
    """Return, for each run, the places of the questions that all of them have, by question id.

    The same question has the same id and text. Raises UsageError when there is none.
    """
    tables = [
        {(question.id, question.text): place for place, question in enumerate(run.questions)} for run in runs
    ]
    shared = set.intersection(*(set(table) for table in tables))
    if not shared:
        raise UsageError(
            f"The runs {' and '.join(labels(runs))} have no question in common, so they cannot be compared."
        )
    return [{key[0]: place for key, place in table.items() if key in shared} for table in tables]


def _by_question(
    run: Run, metrics: Sequence[Metric], places: Mapping[str, int]
) -> dict[str, dict[str, float]]:
    """Return, by metric, the values of the questions at `places`, by question id."""
    return {
        name: {identifier: column[place] for identifier, place in places.items() if place in column}
        for name, column in values(run, metrics).items()
    }


def mean_values(found: Mapping[str, Values]) -> dict[str, Mean]:
    """Return the mean of each metric that has values; metrics of the same questions share their resamples."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, column in found.items():
        if column:
            groups.setdefault(tuple(sorted(column)), []).append(name)
    means: dict[str, Mean] = {}
    for places, names in groups.items():
        columns = np.array([[found[name][place] for name in names] for place in places])
        means.update(zip(names, significance.means(columns), strict=True))
    return {name: means[name] for name in found if name in means}
