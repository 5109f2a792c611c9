"""What the report says of its runs, as values: no HTML and no drawing here."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from ragqa.errors import UsageError
from ragqa.evaluate.comparison import Row, changes, compare_runs, shared_places, summarise
from ragqa.evaluate.metrics import Values, default_metrics, parse_metrics, values
from ragqa.evaluate.questions import JudgedQuestion
from ragqa.evaluate.runs import Result, Run
from ragqa.evaluate.significance import Difference, Mean

TELLING = 20
TOP = 5
# How many of the documents, or of the reasons, that a warning is about are named.
NAMED = 3
UNTYPED = "untyped"


@dataclass(frozen=True, slots=True)
class Study:
    """The runs with all that is worked out of them; lists are in the order of `runs`.

    `metrics` has the main one first, and is empty where nothing can be measured. `pair` has the places
    of two of the runs.
    """

    runs: list[Run]
    rows: list[Row]
    metrics: list[str]
    values: list[dict[str, Values]]
    differences: list[Difference]
    pair: tuple[int, int] | None

    @property
    def main(self) -> str:
        return self.metrics[0]

    @property
    def names(self) -> list[str]:
        return [row.label for row in self.rows]

    @property
    def questions(self) -> tuple[JudgedQuestion, ...]:
        return self.runs[0].questions

    def mean(self, run: int, metric: str) -> Mean | None:
        return self.rows[run].means.get(metric)

    def counts(self, metric: str) -> list[int]:
        """Return the numbers of questions that the means are over, each once."""
        return sorted({row.means[metric].count for row in self.rows if metric in row.means})

    def best(self, metric: str) -> set[int]:
        """Return the places of the runs with the highest mean; none where all are equal."""
        found = {place: row.means[metric].value for place, row in enumerate(self.rows) if metric in row.means}
        if not found or math.isclose(max(found.values()), min(found.values()), abs_tol=1e-12):
            return set()
        top = max(found.values())
        return {place for place, value in found.items() if math.isclose(value, top, abs_tol=1e-12)}

    def common(self) -> list[tuple[int, float, float]]:
        """Return place and both values of the questions that both runs of the pair have a value for."""
        if self.pair is None:
            return []
        a, b = (self.values[place][self.main] for place in self.pair)
        return [(place, a[place], b[place]) for place in sorted(a.keys() & b.keys())]


@dataclass(frozen=True, slots=True)
class Side:
    """What one run made of a question: `ranking` has document ids, and whether each is relevant.

    `first` is the rank of the first relevant document, counted from 1; `state` is what became of the
    answer: answered, refused, failed, none or missing.
    """

    name: str
    value: float
    ranking: list[tuple[str, bool]]
    first: int | None
    state: str
    answer: str


@dataclass(frozen=True, slots=True)
class Telling:
    """A question that the runs of the pair differ on."""

    anchor: str
    question: JudgedQuestion
    difference: float
    sides: tuple[Side, Side]


def study(runs: Sequence[Run], pair: tuple[Run, Run] | None, metric: str | None) -> Study:
    """Return what there is to say of `runs` and of the `pair`, which joins them if it is not among them.

    It is over the questions that all of them have. Raises UsageError for no run at all, for runs that
    share no question and for an unknown metric.
    """
    listed = list({run.info.id: run for run in (*runs, *(pair or ()))}.values())
    if not listed:
        raise UsageError("There is no run to report on.")
    listed = _over_shared(listed)
    metrics = [*(parse_metrics([metric]) if metric is not None else ()), *default_metrics(listed)]
    metrics = list({metric.name: metric for metric in metrics}.values())
    names = [metric.name for metric in metrics]
    rows = summarise(listed, metrics)
    chosen: tuple[int, int] | None = None
    if names and pair is not None:
        ids = [run.info.id for run in listed]
        chosen = ids.index(pair[0].info.id), ids.index(pair[1].info.id)
    elif names:
        chosen = _best_two(rows, names[0])
    return Study(
        runs=listed,
        rows=rows,
        metrics=names,
        values=[values(run, metrics) for run in listed],
        differences=compare_runs(listed, names[:1]) if names and len(listed) > 1 else [],
        pair=chosen,
    )


def telling(study: Study) -> list[Telling]:
    """Return the questions that the runs of the pair differ most on, at most TELLING of them.

    Those with equal values tell nothing and are left out.
    """
    if study.pair is None:
        return []
    first, second = study.pair
    found = changes(study.runs[first], study.runs[second], study.main)
    # Rounded, so that what differs by the last bit of a float is a tie, as it looks.
    found.sort(key=lambda change: (-round(abs(change.b - change.a), 9), change.place))
    return [
        Telling(
            anchor=anchor(study.questions[change.place].id),
            question=study.questions[change.place],
            difference=change.b - change.a,
            sides=(
                _side(study, first, change.place, change.a),
                _side(study, second, change.place, change.b),
            ),
        )
        for change in found[:TELLING]
    ]


def anchor(identifier: str) -> str:
    """Return the HTML id of a question: an id may hold spaces, which those may not."""
    return f"q-{quote(identifier, safe='')}"


def by_type(study: Study) -> dict[str, list[int]]:
    """Return the places of the questions of each type, in the order in which the types turn up."""
    found: dict[str, list[int]] = {}
    for place, question in enumerate(study.questions):
        found.setdefault(question.type or UNTYPED, []).append(place)
    return found


def warnings(study: Study) -> list[str]:
    """Return what to know before the figures are believed, a sentence each."""
    found = []
    total = len(study.questions)
    for run, name in zip(study.runs, study.names, strict=True):
        if run.failed:
            reasons = Counter(result.reason or "no reason given" for result in run.failed.values())
            told = "; ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(NAMED))
            found.append(
                f"{name}: {len(run.failed):,} of {total:,} questions failed: {told}. Metrics of answers "
                "leave them out; metrics of retrieval count what had been found."
            )
        if len(run.results) < total:
            found.append(
                f"{name} is incomplete: {len(run.results):,} of {total:,} questions have a result, and its "
                "means are over those."
            )
    found += _absences(study)
    if len({run.info.key.question_set for run in study.runs}) > 1:
        found.append(f"The runs are over different question sets: this is over the {total:,} they share.")
    for what, seen in (
        ("The runs search different corpora, so differences may be the documents'", corpora(study)),
        ("The runs were made by different versions of the code", code_versions(study)),
        ("The runs were made on different devices, so latencies cannot be compared", devices(study)),
    ):
        if len(seen) > 1:
            found.append(f"{what}: {'; '.join(seen)}.")
    return found


def corpora(study: Study) -> list[str]:
    """Return the name of each corpus; where several have one name, with the start of its fingerprint."""
    # A path of another system is cut at its own separator; the folders above are nobody's business.
    seen = dict.fromkeys(
        (re.split(r"[\\/]", run.info.corpus_path)[-1], run.info.key.corpus) for run in study.runs
    )
    names = [name for name, _ in seen]
    return [name if names.count(name) == 1 else f"{name} ({corpus[:8]})" for name, corpus in seen]


def code_versions(study: Study) -> list[str]:
    """Return the versions of the code that made the runs."""
    return list(dict.fromkeys(run.info.key.code_version for run in study.runs))


def devices(study: Study) -> list[str]:
    """Return the devices of the runs, with the processor where it is known."""
    return list(
        dict.fromkeys(
            ", ".join(str(part) for part in (run.info.device, run.info.environment.get("processor")) if part)
            for run in study.runs
        )
    )


def _absences(study: Study) -> list[str]:
    """Return a sentence for each corpus that lacks relevant documents, not for each run over it."""
    lacking: dict[str, list[str]] = {}
    for run, name in zip(study.runs, study.names, strict=True):
        asked = {question.id for question in study.questions}
        absent = {question: ids for question, ids in run.info.absent.items() if ids and question in asked}
        documents = list(dict.fromkeys(document for ids in absent.values() for document in ids))
        if not documents:
            continue
        more = f" and {len(documents) - NAMED:,} more" if len(documents) > NAMED else ""
        told = (
            f"{len(documents):,} relevant {'document' if len(documents) == 1 else 'documents'}, of "
            f"{len(absent):,} {'question' if len(absent) == 1 else 'questions'}, cannot be found because the "
            f"corpus does not have {'it' if len(documents) == 1 else 'them'}: "
            f"{', '.join(documents[:NAMED])}{more}"
        )
        lacking.setdefault(told, []).append(name)
    return [
        f"{told}." if len(names) == len(study.runs) else f"{', '.join(names)}: {told}."
        for told, names in lacking.items()
    ]


def _over_shared(runs: Sequence[Run]) -> list[Run]:
    """Return the runs over the questions that all have, in the order of the first, so that places agree."""
    found = []
    tables = shared_places(runs)
    for run, table in zip(runs, tables, strict=True):
        places = [table[identifier] for identifier in tables[0]]
        at = {old: new for new, old in enumerate(places)}
        found.append(
            replace(
                run,
                question_set=replace(
                    run.question_set, questions=tuple(run.questions[place] for place in places)
                ),
                results={at[place]: result for place, result in run.results.items() if place in at},
                grades={
                    judge: {at[place]: grade for place, grade in grades.items() if place in at}
                    for judge, grades in run.grades.items()
                },
            )
        )
    return found


def _best_two(rows: Sequence[Row], metric: str) -> tuple[int, int] | None:
    order = sorted(
        (place for place, row in enumerate(rows) if metric in row.means),
        key=lambda place: (-rows[place].means[metric].value, place),
    )
    return (order[0], order[1]) if len(order) > 1 else None


def _side(study: Study, which: int, place: int, value: float) -> Side:
    run, question = study.runs[which], study.questions[place]
    result = run.results.get(place)
    documents = result.found(question.relevant) if result is not None else []
    relevant = [question.relevant.get(document, 0) > 0 for document in documents]
    state, answer = _answer(run, result)
    return Side(
        name=study.names[which],
        value=value,
        ranking=list(zip(documents, relevant, strict=True))[:TOP],
        first=relevant.index(True) + 1 if True in relevant else None,
        state=state,
        answer=answer,
    )


def _answer(run: Run, result: Result | None) -> tuple[str, str]:
    if result is None:
        return "missing", ""
    if result.status == "failed":
        return "failed", result.reason
    if result.reply is None or not run.answers:
        return "none", ""
    return ("refused" if result.reply.refused else "answered"), result.reply.text
