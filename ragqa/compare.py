"""One question, several configs side by side: what each finds, where they agree, what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragqa.types import Answer, Hit, SearchResult


@dataclass(frozen=True, slots=True)
class ComparedDocument:
    """A document and the rank that each config gave its best passage; a config that lacks it is absent."""

    document_id: str
    title: str
    ranks: Mapping[str, int]

    @property
    def found_alone_by(self) -> str | None:
        return next(iter(self.ranks)) if len(self.ranks) == 1 else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results by config, in the order asked for; `answers` by label, where some were asked for."""

    question: str
    results: Mapping[str, SearchResult]
    documents: tuple[ComparedDocument, ...]
    answers: Mapping[str, Answer]

    def overlap(self, one: str, other: str) -> float:
        """Return how many documents both found, as a share of those that either did (Jaccard)."""
        found = {
            config: {hit.passage.document_id for hit in self.results[config].hits} for config in (one, other)
        }
        either = found[one] | found[other]
        return len(found[one] & found[other]) / len(either) if either else 1.0


def compare(
    question: str, results: Mapping[str, SearchResult], answers: Mapping[str, Answer] | None = None
) -> Comparison:
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
    return Comparison(question, results, documents, answers or {})


def document_ranks(hits: Sequence[Hit]) -> dict[str, tuple[int, Hit]]:
    """Return each document's rank among documents, from 1, with the hit that earned it."""
    ranks: dict[str, tuple[int, Hit]] = {}
    for hit in hits:
        if hit.passage.document_id not in ranks:
            ranks[hit.passage.document_id] = (len(ranks) + 1, hit)
    return ranks
