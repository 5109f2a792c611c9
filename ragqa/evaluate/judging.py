"""Letting a judge loose on stored runs: each verdict is kept as it comes, and a stopped one goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragqa.answer.models import prepare_model
from ragqa.errors import UsageError
from ragqa.evaluate.judge import Agreement, Verdict, agreement, grades, judge_absolute, judge_pairwise
from ragqa.evaluate.runs import Run, labels
from ragqa.evaluate.store import RunStore

if TYPE_CHECKING:
    import llm


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge made of a run (`b` is None) or of a pair: the mean grade, of a pair `a`'s share."""

    a: str
    b: str | None
    grade: float | None
    agreement: Agreement


def judge_runs(
    store: RunStore,
    runs: Sequence[Run],
    model: llm.Model,
    rubric: str | None = None,
    *,
    pairwise: bool = False,
    again: bool = False,
    on_verdict: Callable[[int], None] = lambda done: None,
) -> list[Judged]:
    """Judge every run, or with `pairwise` every pair of runs; verdicts that are there are kept.

    With `again` they are asked for anew. Failed ones always are. Raises UsageError when no run has
    answers.
    """
    answered = [run for run in runs if run.answers]
    if len(answered) < (2 if pairwise else 1):
        need = "two runs with answers" if pairwise else "a run with answers"
        raise UsageError(
            f"There is nothing to judge: that takes {need} (ragqa eval run without --retrieval-only)."
        )
    # A small model's window is opened wide enough here, as for answers.
    prepare_model(model)
    rubric = rubric or ("judge-pairwise" if pairwise else "judge-absolute")
    names = dict(zip((run.info.id for run in answered), labels(answered), strict=True))
    pairs: list[tuple[Run, Run | None]] = (
        list(itertools.combinations(answered, 2)) if pairwise else [(run, None) for run in answered]
    )
    found = []
    total = 0
    for a, b in pairs:
        other = b.info.id if b else None
        there = [] if again else store.verdicts(a.info.id, other, model.model_id, rubric)
        done = {(verdict.question, verdict.order) for verdict in there if not verdict.failed}

        def keep(verdict: Verdict, run: int = a.info.id, other: int | None = other) -> None:
            nonlocal total
            store.record_verdict(run, other, model.model_id, rubric, verdict)
            total += 1
            on_verdict(total)

        if b is None:
            judge_absolute(model, a, rubric, on_verdict=keep, done=done)
        else:
            judge_pairwise(model, a, b, rubric, on_verdict=keep, done=done)
        verdicts = store.verdicts(a.info.id, other, model.model_id, rubric)
        mean = grades(verdicts).values()
        found.append(
            Judged(
                a=names[a.info.id],
                b=names[b.info.id] if b else None,
                grade=sum(mean) / len(mean) if mean else None,
                agreement=agreement(verdicts),
            )
        )
    return found
