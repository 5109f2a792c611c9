"""Judges: a model with a rubric grades the answers of a run, or compares those of two.

A rubric is an `llm` template that takes $question, $golden, and $answer, or $answer_a and $answer_b, the
answers in the order in which they are shown; it has the judge end with a line like "Verdict: correct".
The texts filled in hold no "<", so that one which stands between tags cannot close them.

A model prefers answers for where they stand (Zheng et al. 2023, arXiv:2306.05685; Wang et al. 2023,
arXiv:2305.17926), so every pair is shown in both orders, and `agreement` says how often that mattered.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragqa.answer.generate import say
from ragqa.answer.models import check_options
from ragqa.answer.prompts import fill_prompt, load_prompt
from ragqa.errors import RagqaError, UsageError
from ragqa.evaluate.answers import without_marks
from ragqa.evaluate.questions import JudgedQuestion
from ragqa.evaluate.runs import Run

if TYPE_CHECKING:
    import llm

ABSOLUTE = "judge-absolute"
PAIRWISE = "judge-pairwise"
TRIES = 2

NO_VERDICT = "The judge gave no verdict."
NO_ANSWER = "(None: the documents hold no answer to this question.)"

_ABSOLUTE_TAKES = frozenset({"question", "golden", "answer"})
_PAIRWISE_TAKES = frozenset({"question", "golden", "answer_a", "answer_b"})

# The verdict and the grade that a judge's word stands for.
_Words = Mapping[str, tuple[str, float]]
_GRADES: _Words = {"correct": ("correct", 1.0), "partly": ("partly", 0.5), "wrong": ("wrong", 0.0)}
# By the order shown: the first run first, and swapped.
_CHOICES: tuple[_Words, _Words] = (
    {"first": ("A", 1.0), "second": ("B", 0.0), "tie": ("tie", 0.5)},
    {"first": ("B", 0.0), "second": ("A", 1.0), "tie": ("tie", 0.5)},
)

# What models put around a verdict.
_DECORATION = "*_`\"'[](){}<>#.~-"
_AROUND = rf"[\s{re.escape(_DECORATION)}]"
_VERDICT = re.compile(
    rf"^(?:[^\S\n]|[{re.escape(_DECORATION)}])*+(?:final\s+)?verdict{_AROUND}*+[:：]", re.I | re.M
)
_QUOTED_VERDICT = re.compile(rf"(verdict){_AROUND}*+[:：]", re.I)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said of one answer, or of a pair, to the question at the place `question`.

    `order` is the number of the try; of a pair, 1 means that the answers were swapped. `verdict` is
    "correct", "partly" or "wrong"; of a pair "A", "B" or "tie", where A is always the first run given.
    `grade` is 1, 0.5 or 0; of a pair, the first run's share. `reason` is in the judge's own words. Where
    there is no verdict, `failed` says why, `verdict` is "" and `grade` None.
    """

    question: int
    order: int
    verdict: str
    grade: float | None
    reason: str
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a judge agrees with itself, over the `questions` that have two verdicts or more.

    `share` is that of the questions whose verdicts are all the same: of tries, or of both orders.
    `position_bias` is, of pairs, the share of questions where swapping changed the verdict in favour of
    the answer shown first; what is left to 1 went to the one shown second (Zheng et al. 2023,
    arXiv:2306.05685, table 2). NaN where nothing can be said. `verdicts` and `failures` are counts.
    """

    share: float
    position_bias: float
    questions: int
    verdicts: int
    failures: int


@dataclass(frozen=True, slots=True)
class _Case:
    """One thing to ask a judge: what fills its rubric, and what its words mean."""

    question: int
    order: int
    values: Mapping[str, str]
    words: _Words


def judge_absolute(
    model: llm.Model,
    run: Run,
    rubric: str = ABSOLUTE,
    *,
    tries: int = TRIES,
    options: Mapping[str, Any] | None = None,
    on_verdict: Callable[[Verdict], None],
    done: Collection[tuple[int, int]] = (),
) -> list[Verdict]:
    """Return the verdicts of `model` on each answer of `run`, telling `on_verdict` each as it comes.

    Judged are the replies to questions with golden answers and to unanswerable ones, refusals too, each
    `tries` times, but for what is in `done`, as (question, order). A model that fails loses its verdict
    only. Raises UsageError for a rubric or an option that cannot be used, before anything is asked.
    """
    cases = []
    for place, question in _judgeable(run):
        answer = _answer(run, place)
        if answer is not None:
            values = {**_asked(question), "answer": answer}
            cases += [_Case(place, order, values, _GRADES) for order in range(tries)]
    return _judge(model, rubric, _ABSOLUTE_TAKES, cases, options, on_verdict, done)


def judge_pairwise(
    model: llm.Model,
    a: Run,
    b: Run,
    rubric: str = PAIRWISE,
    *,
    options: Mapping[str, Any] | None = None,
    on_verdict: Callable[[Verdict], None],
    done: Collection[tuple[int, int]] = (),
) -> list[Verdict]:
    """Return the verdicts of `model` on which of two runs answers better, each question in both orders.

    As `judge_absolute`, for the questions that both runs have a reply to. Raises UsageError too when the
    runs answered different questions.
    """
    if a.questions != b.questions:
        raise UsageError(f"The runs {a.label} and {b.label} cannot be compared: their questions differ.")
    cases = []
    for place, question in _judgeable(a):
        answers = [answer for run in (a, b) if (answer := _answer(run, place)) is not None]
        if len(answers) < 2:
            continue
        for order, words in enumerate(_CHOICES):
            values = {**_asked(question), "answer_a": answers[order], "answer_b": answers[1 - order]}
            cases.append(_Case(place, order, values, words))
    return _judge(model, rubric, _PAIRWISE_TAKES, cases, options, on_verdict, done)


def agreement(verdicts: Sequence[Verdict]) -> Agreement:
    """Return how far a judge's verdicts, all absolute or all of one pair of runs, agree with each other."""
    given: dict[int, dict[int, Verdict]] = {}
    for verdict in verdicts:
        if not verdict.failed:
            given.setdefault(verdict.question, {})[verdict.order] = verdict
    repeated = [list(of.values()) for of in given.values() if len(of) > 1]
    same = [len({verdict.verdict for verdict in of}) == 1 for of in repeated]
    pairs = any(verdict.verdict in ("A", "B", "tie") for of in repeated for verdict in of)
    # Swapped, the same run is in the other place: a judge's leanings cancel out if it sticks to its run.
    leanings = [sum(_leaning(verdict) for verdict in of) for of in repeated] if pairs else []
    return Agreement(
        share=_share(same),
        position_bias=_share([leaning > 0 for leaning in leanings]),
        questions=len(repeated),
        verdicts=sum(len(of) for of in given.values()),
        failures=sum(1 for verdict in verdicts if verdict.failed),
    )


def grades(verdicts: Iterable[Verdict]) -> dict[int, float]:
    """Return the mean grade of each question that has one; of pairs, the first run's share."""
    given: dict[int, list[float]] = {}
    for verdict in verdicts:
        if verdict.grade is not None:
            given.setdefault(verdict.question, []).append(verdict.grade)
    return {question: sum(of) / len(of) for question, of in given.items()}


def _judge(
    model: llm.Model,
    rubric: str,
    takes: frozenset[str],
    cases: Iterable[_Case],
    options: Mapping[str, Any] | None,
    on_verdict: Callable[[Verdict], None],
    done: Collection[tuple[int, int]],
) -> list[Verdict]:
    template = load_prompt(rubric, takes)
    checked = check_options(model, options or {})
    skipped = set(done)
    verdicts = []
    for case in cases:
        if (case.question, case.order) in skipped:
            continue
        prompt = fill_prompt(template, case.values)
        try:
            said = say(model, prompt, checked)
        except RagqaError as error:
            verdict = Verdict(case.question, case.order, "", None, "", str(error))
        else:
            verdict = _read(case, said.text)
        verdicts.append(verdict)
        on_verdict(verdict)
    return verdicts


def _read(case: _Case, said: str) -> Verdict:
    """Return the verdict in what a judge said: its last line of one, if that is of the known words."""
    heads = list(_VERDICT.finditer(said))
    if heads:
        rest = said[heads[-1].end() :].lstrip(string.whitespace + _DECORATION)
        line, _, after = rest.partition("\n")
        found = case.words.get(line.strip(string.whitespace + _DECORATION).lower())
        if found is not None:
            reason = said[: heads[-1].start()].strip() or after.strip()
            return Verdict(case.question, case.order, *found, reason)
    return Verdict(case.question, case.order, "", None, said.strip(), NO_VERDICT)


def _judgeable(run: Run) -> list[tuple[int, JudgedQuestion]]:
    """Return the questions of which it is known what a right answer is, with their places."""
    return [
        (place, question)
        for place, question in enumerate(run.questions)
        if question.golden_answers or question.unanswerable
    ]


def _answer(run: Run, place: int) -> str | None:
    """Return what a run answered as a judge reads it, or None where it did not."""
    result = run.results.get(place)
    return None if result is None or result.reply is None else _data(without_marks(result.reply.text))


def _asked(question: JudgedQuestion) -> dict[str, str]:
    golden = [" ".join(_data(answer).split()) for answer in question.golden_answers]
    return {
        "question": _data(question.text),
        "golden": NO_ANSWER if question.unanswerable else "\n".join(golden),
    }


def _data(text: str) -> str:
    """Return `text` such that it cannot end where it is quoted, nor pass for the judge's own verdict.

    Without "<" it is no tag, and no mark by which a chat template parts who speaks. Some judges repeat
    what they read, so that a verdict in it must not read as one.
    """
    return _QUOTED_VERDICT.sub(r"\1 -", text).replace("<", "&lt;").strip()


def _leaning(verdict: Verdict) -> int:
    """Return 1 for a verdict in favour of the answer shown first, -1 for the other, 0 for a tie."""
    if verdict.verdict == "tie":
        return 0
    return 1 if (verdict.verdict == "A") == (verdict.order == 0) else -1


def _share(of: Sequence[bool]) -> float:
    return sum(of) / len(of) if of else math.nan
