"""One question, several configs side by side: what each finds, where they agree, what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragqa.errors import UsageError
from ragqa.pipeline import Pipeline
from ragqa.types import Answer, Hit, SearchResult


@dataclass(frozen=True, slots=True)
class ComparedDocument:
    """A document and the rank that each config gave its best passage; a config that lacks it is absent."""

    document_id: str
    title: str
    ranks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Results by config, in the order asked for; `answers` by label, where some were asked for."""

    question: str
    results: Mapping[str, SearchResult]
    documents: tuple[ComparedDocument, ...]
    answers: Mapping[str, Answer]

    def found_alone(self, config: str) -> list[str]:
        """Return the documents that no other config found."""
        return [document.document_id for document in self.documents if list(document.ranks) == [config]]

    def overlap(self, one: str, other: str) -> float:
        """Return how many documents both found, as a share of those that either did (Jaccard)."""
        found = {
            config: {hit.passage.document_id for hit in self.results[config].hits} for config in (one, other)
        }
        either = found[one] | found[other]
        return len(found[one] & found[other]) / len(either) if either else 1.0


def compare(
    question: str, results: Mapping[str, SearchResult], answers: Mapping[str, Answer] | None = None
) -> SideBySide:
    """Return the comparison of what several configs found; documents come best mean reciprocal rank first."""
    ranks: dict[str, dict[str, int]] = {}
    titles: dict[str, str] = {}
    for config, result in results.items():
        for document_id, (rank, hit) in document_ranks(result.hits).items():
            ranks.setdefault(document_id, {})[config] = rank
            titles.setdefault(document_id, hit.passage.title)
    order = sorted(ranks, key=lambda document_id: -sum(1 / rank for rank in ranks[document_id].values()))
    documents = tuple(
        ComparedDocument(document_id, titles[document_id], ranks[document_id]) for document_id in order
    )
    return SideBySide(question, results, documents, answers or {})


def ask_all(
    pipelines: Sequence[Pipeline], question: str, k: int, models: Sequence[str | None] = ()
) -> SideBySide:
    """Search with every pipeline, and let each of `models` (None: the config's own) answer from each.

    A stage's models are loaded by a first search, so that the times compared are those of a question.
    Raises UsageError when there is only one pipeline and at most one model.
    """
    if len(pipelines) * max(1, len(models)) < 2:
        raise UsageError("There is nothing to compare: name two configs with -c, or two models with -m.")
    results, answers = {}, {}
    for pipeline in pipelines:
        pipeline.search(question, k)
        label, number = pipeline.config.name, 2
        while label in results:
            label, number = f"{pipeline.config.name} ({number})", number + 1
        results[label] = pipeline.search(question, k)
        for model in models:
            answer = pipeline.ask(question, model=model, log=False)
            answers[f"{label}, {answer.model}"] = answer
    return compare(question, results, answers)


def document_ranks(hits: Sequence[Hit]) -> dict[str, tuple[int, Hit]]:
    """Return each document's rank among documents, from 1, with the hit that earned it."""
    ranks: dict[str, tuple[int, Hit]] = {}
    for hit in hits:
        if hit.passage.document_id not in ranks:
            ranks[hit.passage.document_id] = (len(ranks) + 1, hit)
    return ranks
