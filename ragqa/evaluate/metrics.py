"""What a run is worth, question by question: retrieval metrics through ir-measures, answers by definition."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ragqa.errors import UsageError
from ragqa.evaluate import answers
from ragqa.evaluate.questions import JudgedQuestion, document_of
from ragqa.evaluate.runs import Reply, Run
from ragqa.types import Hit

if TYPE_CHECKING:
    from ir_measures.measures import Measure

RETRIEVAL = ("nDCG@10", "R@100", "RR@10", "Success@5")
JUDGE = "Judge"

# By the question's place in its set.
Values = dict[int, float]
_Score = Callable[[JudgedQuestion, Reply], float]
_Applies = Callable[[JudgedQuestion], bool]
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class AnswerMetric:
    """A metric of a reply, for the questions that it `applies` to."""

    applies: _Applies
    score: _Score


def _golden(score: Callable[[str, Sequence[str]], float]) -> AnswerMetric:
    return AnswerMetric(
        lambda question: bool(question.golden_answers),
        lambda question, reply: float(score(answers.without_marks(reply.text), question.golden_answers)),
    )


def _cited(score: Callable[[Sequence[str], list[str]], float]) -> AnswerMetric:
    return AnswerMetric(
        lambda question: question.judged,
        lambda question, reply: score(
            reply.cited,
            list(dict.fromkeys(document_of(name) for name, grade in question.relevant.items() if grade > 0)),
        ),
    )


ANSWERS: dict[str, AnswerMetric] = {
    "EM": _golden(answers.exact_match),
    "F1": _golden(answers.token_f1),
    "Contains": _golden(answers.contains_answer),
    "ROUGE-L": _golden(answers.rouge_l),
    # How many answerable questions got an answer, and how many unanswerable ones rightly none. The others
    # of the first are the wrong refusals: they have no metric, since everywhere more of one is better.
    "Answered": AnswerMetric(
        lambda question: question.judged or bool(question.golden_answers),
        lambda question, reply: float(not reply.refused),
    ),
    "Refused": AnswerMetric(
        lambda question: question.unanswerable, lambda question, reply: float(reply.refused)
    ),
    "CiteP": _cited(answers.citation_precision),
    "CiteR": _cited(answers.citation_recall),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by name; `measure` is ir-measures' where it is one of retrieval, `answer` where of answers.

    Neither is set for the judge's grades.
    """

    name: str
    measure: Measure | None = None
    answer: AnswerMetric | None = None


def parse_metrics(names: Sequence[str]) -> list[Metric]:
    """Return the metrics called `names`; raises UsageError for one that nobody knows."""
    return [_parse(name) for name in dict.fromkeys(names)]


def default_metrics(runs: Sequence[Run]) -> list[Metric]:
    """Return the metrics that have something to say about one of `runs` at least."""
    names = [*RETRIEVAL, *(ANSWERS if any(run.answers for run in runs) else ()), JUDGE]
    metrics = parse_metrics(names)
    found = [values(run, metrics) for run in runs]
    return [metric for metric in metrics if any(of[metric.name] for of in found)]


def values(run: Run, metrics: Sequence[Metric]) -> dict[str, Values]:
    """Return each metric's value for every question that it applies to and that has a result.

    A question that finds nothing scores zero, and so does one whose documents the corpus lacks. Replies
    that failed are left out: they are no answers, and are counted as failures.
    """
    retrieval = [metric for metric in metrics if metric.measure is not None]
    judged = [place for place in sorted(run.results) if run.questions[place].judged]
    found: dict[str, Values] = {metric.name: {} for metric in retrieval}
    if retrieval and judged:
        relevant = [run.questions[place].relevant for place in judged]
        documents = [run.results[place].found(run.questions[place].relevant) for place in judged]
        for name, column in retrieval_values(retrieval, relevant, documents, run.label).items():
            found[name] = dict(zip(judged, column, strict=True))
    for metric in metrics:
        if metric.answer is not None:
            found[metric.name] = {
                place: metric.answer.score(run.questions[place], result.reply)
                for place, result in run.results.items()
                if result.reply is not None and metric.answer.applies(run.questions[place])
            }
        elif metric.measure is None:
            grades = list(run.grades.values())
            found[metric.name] = dict(grades[-1]) if grades else {}
    return found


def ranked_documents(hits: Sequence[Hit]) -> list[str]:
    """Return the ids of the documents of `hits`, best passage first, each once."""
    return list(dict.fromkeys(hit.passage.document_id for hit in hits))


def document_scores(documents: Sequence[str]) -> dict[str, float]:
    """Return a score per document that falls with its rank.

    Made from ranks, because a tool that sorts by score must find the order that was shown.
    """
    return {document: 1.0 / rank for rank, document in enumerate(documents, 1)}


def qrels_of(run: Run) -> dict[str, dict[str, int]]:
    """Return the judgements of the questions that have a result and a relevant document."""
    return {
        run.questions[place].id: run.questions[place].relevant
        for place in sorted(run.results)
        if run.questions[place].judged
    }


def ranked_of(run: Run) -> dict[str, dict[str, float]]:
    """Return the documents found and their scores, by question."""
    return {
        run.questions[place].id: document_scores(run.results[place].found(run.questions[place].relevant))
        for place in sorted(run.results)
    }


def retrieval_values(
    metrics: Sequence[Metric],
    relevant: Sequence[Mapping[str, int]],
    documents: Sequence[Sequence[str]],
    what: str,
) -> dict[str, list[float]]:
    """Return each metric's value for every question, given its judgements and the documents found for it.

    A question with no documents scores zero. Raises UsageError, which names `what` is measured, where
    the tool behind ir-measures fails.
    """
    import ir_measures

    # A tool may leave out a question with no result.
    found = {metric.name: [0.0] * len(relevant) for metric in metrics}
    name_of: dict[Any, str] = {metric.measure: metric.name for metric in metrics}
    # Numbers for ids, because one of the tools (gdeval) knows no other questions, and no spaces.
    numbers: dict[str, str] = {}

    def numbered(of: Mapping[str, _Number]) -> dict[str, _Number]:
        return {numbers.setdefault(document, str(len(numbers))): value for document, value in of.items()}

    qrels = {str(place): numbered(grades) for place, grades in enumerate(relevant)}
    ranked = {str(place): numbered(document_scores(ids)) for place, ids in enumerate(documents) if ids}
    try:
        for value in ir_measures.iter_calc(list(name_of), qrels, ranked):
            found[name_of[value.measure]][int(value.query_id)] = float(value.value)
    except Exception as error:  # Whatever one of the tools behind ir-measures raises.
        names = ", ".join(metric.name for metric in metrics)
        raise UsageError(f"ir-measures cannot compute {names} of {what}: {error!r}.") from error
    return {metric.name: found[name_of[metric.measure]] for metric in metrics}


def _parse(name: str) -> Metric:
    for known, answer in ANSWERS.items():
        if name.lower() == known.lower():
            return Metric(known, answer=answer)
    if name.lower() == JUDGE.lower():
        return Metric(JUDGE)
    try:
        measure = retrieval_measure(name)
    except (KeyError, ValueError, SyntaxError, TypeError) as error:
        raise UsageError(
            f"There is no metric {name!r}. Known: what ir-measures knows (nDCG@10, R@100, RR@10, AP, P@5, "
            f"Success@5), {', '.join((*ANSWERS, JUDGE))}."
        ) from error
    if not _computable(measure):
        raise UsageError(
            f"No tool that is installed computes {name!r} from rankings: take a metric like nDCG@10, R@100 "
            "or AP, with a cut-off of 1 or more where it needs one."
        )
    return Metric(name, measure=measure)


def retrieval_measure(name: str) -> Measure:
    """Return the measure that ir-measures calls `name`: "nDCG@10", "P(rel=2)@5".

    As `ir_measures.parse_measure` does, whose release 0.4.3 asks for classes that Python 3.14 no longer has
    (ast.Num). Raises KeyError for an unknown measure, ValueError, SyntaxError or TypeError for what is none.
    """
    from ir_measures.measures import registry

    node = ast.parse(name, mode="eval").body
    at, options = None, {}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        at, node = ast.literal_eval(node.right), node.left
    if isinstance(node, ast.Call) and not node.args:
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
        node = node.func
    if not isinstance(node, ast.Name):
        raise ValueError(f"{name!r} is no measure")
    kind = registry[node.id]
    if at is not None:
        options[kind.AT_PARAM] = at
    measure: Measure = kind(**options)
    return measure


def _computable(measure: Measure) -> bool:
    import ir_measures

    # trec_eval ends the whole process at a cut-off of 0.
    numbers = [measure.params[name] for name in ("cutoff", "rel") if name in measure.params]
    if any(isinstance(number, bool) or number == 0 for number in numbers):
        return False
    try:
        return bool(ir_measures.DefaultPipeline.supports(measure))  # type: ignore[no-untyped-call]
    except AssertionError:
        return False
