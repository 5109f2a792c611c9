"""What is known of a model that comes along: its name and hash, its sizes, and what was fitted to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fitted:
    """Constants that hold for the token vectors of one model alone, each fitted by a command that is kept.

    `python -m tests.workshop.answerable`: `answerability` is a logistic regression's intercept and its
    weights of match and lead (answer/answerable.py), `refuse_below` the score that 5% of the answerable
    questions fall below, `typical_lead` how far a passage that is lacking counts as behind. Words that carry
    meaning begin at place `first_word` of the vocabulary, which is in order of frequency.

    `python -m tests.workshop.support`: `support` are the weights of similar, said, numbers and names, and
    `support_intercept` theirs (answer/support.py), right and wrong statements on XQuAD and NQ passages
    weighing the same. `unrelated` and `same` are cosines of words that have nothing in common, and of a word
    and itself elsewhere.
    """

    answerability: tuple[float, float, float]
    refuse_below: float
    typical_lead: float
    first_word: int
    support: tuple[float, float, float, float]
    support_intercept: float
    unrelated: float
    same: float


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """A model that comes along; `name` and `weights` (SHA-256) are what an index notes of it.

    `dimensions` are those of a token vector. `adapted` says that an adapter is merged into the weights.
    `fitted` is None for a model to whose vectors nothing was fitted: what needs that takes the default model.
    """

    name: str
    weights: str
    dimensions: int
    adapted: bool = False
    fitted: Fitted | None = None
