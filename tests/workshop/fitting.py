"""What the commands share that fit constants of this package to question sets with golden answers.

A question set and the corpus that it is asked of are named QUESTIONS=CORPUS. One half of the
documents is fitted to, the other is what is reported on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from ragqa.errors import UsageError
from ragqa.evaluate.questions import JudgedQuestion

Collections = Annotated[
    list[str], typer.Argument(help="QUESTIONS=CORPUS: a question set with golden answers, and its corpus.")
]
Transfer = Annotated[list[str] | None, typer.Option(help="QUESTIONS=CORPUS to report on and not to fit to.")]
Seed = Annotated[int, typer.Option(help="Another one draws other questions.")]

# How much large weights cost: next to nothing, but enough where two classes can be told apart perfectly.
RIDGE = 0.002

Column = NDArray[np.float64]


def parse_collection(text: str) -> tuple[Path, Path]:
    """Return the question set and the corpus in QUESTIONS=CORPUS; raises UsageError where it is none."""
    questions, equals, db = text.rpartition("=")
    if not equals or not questions or not db:
        raise UsageError(f"{text!r} is not QUESTIONS=CORPUS.")
    return Path(questions), Path(db)


def is_fitted(question: JudgedQuestion) -> bool:
    """Tell whether a question is of the half that is fitted to: all those of a document are, or none."""
    document = min(question.relevant, default=question.id)
    return hashlib.sha256(document.encode()).digest()[0] % 2 == 0


def logistic(rows: Sequence[Sequence[float]], right: Sequence[bool], shares: Column) -> tuple[float, ...]:
    """Return intercept and weights of a logistic regression, each case counting by its share.

    `rows` has shape (cases, features). Weights are penalised as if all features had a spread of 1. Raises
    UsageError when all cases are right or none is.
    """
    from sklearn.linear_model import LogisticRegression

    if len(set(right)) < 2:
        raise UsageError(
            "There is nothing to fit to: it takes questions with golden answers that a relevant document "
            "has, more of them, and others."
        )
    features = np.asarray(rows, float)
    mean = np.average(features, axis=0, weights=shares)
    spread = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=shares)) + 1e-9
    regression = LogisticRegression(C=1 / RIDGE, max_iter=1000)
    regression.fit((features - mean) / spread, list(right), sample_weight=shares / shares.sum())
    weights = regression.coef_[0] / spread
    return tuple(float(value) for value in (regression.intercept_[0] - weights @ mean, *weights))
