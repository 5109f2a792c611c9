"""A run: what one strategy, with one model or none, found and answered to a set of questions.

The values only; where they are kept is `store`, and what they are worth is `metrics`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ragqa.evaluate.questions import PAGE, JudgedQuestion, QuestionSet

Status = Literal["done", "failed"]
# Passages asked for per question, unless the config reranks fewer. They stand for fewer documents, so
# that recall at 100 is a little less than 100 documents would have.
DEPTH = 100


@dataclass(frozen=True, slots=True)
class RankedPassage:
    """A hit as a run keeps it: no text, which is the corpus'. `page` is its label; "" where there is none."""

    document_id: str
    passage_id: str
    score: float
    scores: Mapping[str, float]
    page: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer to one question; `cited` are the ids of the documents that it cites."""

    text: str
    refused: bool
    cited: tuple[str, ...] = ()
    context: str = ""
    context_tokens: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One question of a run. `reply` is None where no model was asked, and where it `failed`.

    `timings_ms` has the time of each stage as if it had been run for this run alone; `encode` is the
    question's way through the encoders, which the stages after it do not repeat.
    """

    status: Status
    ranking: tuple[RankedPassage, ...]
    timings_ms: Mapping[str, float]
    reply: Reply | None = None
    reason: str = ""
    attempts: int = 1

    @property
    def documents(self) -> list[str]:
        """The ids of the documents found, best passage first, each once."""
        return list(dict.fromkeys(passage.document_id for passage in self.ranking))

    def found(self, relevant: Iterable[str]) -> list[str]:
        """Return what was found as `relevant` names it: documents, or pages ("lease.pdf#page=3") if it does.

        Best passage first, each once.
        """
        if not any(PAGE in name for name in relevant):
            return self.documents
        named = (
            f"{one.document_id}{PAGE}{one.page}" if one.page else one.document_id for one in self.ranking
        )
        return list(dict.fromkeys(named))


@dataclass(frozen=True, slots=True)
class RunKey:
    """All that decides what a run finds and answers: two runs with the same key can be continued as one.

    `config` is the YAML as it was used, `model` is None for retrieval only.
    """

    question_set: str
    config: str
    corpus: str
    model: str | None
    options: Mapping[str, Any]
    prompt: str
    depth: int
    code_version: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of a run apart from its results.

    `absent` has, by question id, the relevant documents that the corpus did not have. `index_bytes` is
    the size of all that the config searches.
    """

    id: int
    batch: int
    name: str
    created: str
    key: RunKey
    config_name: str
    corpus_path: str
    index_bytes: int
    device: str
    environment: Mapping[str, Any]
    absent: Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Run:
    """A run with its questions and results, by the question's place in the set, from 0."""

    info: RunInfo
    question_set: QuestionSet
    results: Mapping[int, Result]
    # By judge: a grade from 0 to 1 by the question's place.
    grades: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The run's name with its number, which is what tells two runs of the same name apart."""
        return f"{self.info.id} {self.info.name}"

    @property
    def questions(self) -> tuple[JudgedQuestion, ...]:
        return self.question_set.questions

    @property
    def failed(self) -> dict[int, Result]:
        return {place: result for place, result in self.results.items() if result.status == "failed"}

    @property
    def complete(self) -> bool:
        """Whether every question is done."""
        return len(self.results) == len(self.questions) and not self.failed

    @property
    def answers(self) -> bool:
        """Whether a model was asked."""
        return self.info.key.model is not None


def labels(runs: Iterable[Run]) -> list[str]:
    """Return a name for each run, with its number only where two would share one."""
    listed = list(runs)
    names = [run.info.name for run in listed]
    return [run.info.name if names.count(run.info.name) == 1 else run.label for run in listed]
