"""Hard negatives: what the first stage ranks high and is not the answer; and a teacher's scores."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ragqa.corpus.database import Corpus
from ragqa.errors import UsageError
from ragqa.pipeline import Pipeline
from ragqa.train.pairs import OnPair, TrainingPair, read_without
from ragqa.types import Hit, Passage

# Ranks that negatives are drawn from. What is ranked first of the others is too often an answer that
# nobody marked as one, and what comes late is easy.
FIRST, LAST = 2, 30
# A passage that shares so much of its words with the positive says the same.
NEAR_DUPLICATE = 0.8
FUSION = "fusion"


@dataclass(frozen=True, slots=True)
class Example:
    """A question with its positive first among `texts`, then its negatives.

    `scores` are a teacher's, one for each text; empty without a teacher.
    """

    query: str
    texts: tuple[str, ...]
    scores: tuple[float, ...] = ()

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Example:
        return cls(data["query"], tuple(data["texts"]), tuple(data["scores"]))


class Teacher(Protocol):
    """Scores the texts of one question, for distillation."""

    def __call__(self, query: str, texts: Sequence[str], hits: Sequence[Hit | None]) -> list[float] | None:
        """Return a score for each text; None where it has none for the first, which is the answer.

        `hits` are those of the first stage, None for a text that it did not find.
        """


def mine(
    pipeline: Pipeline,
    pairs: Sequence[TrainingPair],
    count: int,
    *,
    left_out: Collection[str] = (),
    teacher: Teacher | None = None,
    seed: int = 0,
    on_pair: OnPair = lambda done, total: None,
) -> list[Example]:
    """Return each pair with `count` negatives out of what the config's first stage finds for its question.

    Left out are passages of relevant documents and of the documents in `left_out`, and near-duplicates of
    the positive. Where too few are left, passages drawn from the whole corpus join them. With a `teacher`,
    pairs that it has no score for are left out.
    """
    rng = random.Random(seed)
    drawn = _Others(pipeline.corpus, left_out, rng)
    examples = []
    for done, pair in enumerate(pairs, 1):
        hits = pipeline.candidates(pair.query, LAST).hits
        found = _draw(rng, _eligible(pair, hits, left_out), count)
        passages: list[Passage] = [hit.passage for hit in found]
        passages += drawn.passages(pair, count - len(passages))
        texts = (pair.text, *(read_without(passage, pair.hidden) for passage in passages))
        scores: Sequence[float] | None = ()
        if teacher is not None:
            by_id = {hit.passage.id: hit for hit in hits}
            identifiers = [pair.passage_id, *(passage.id for passage in passages)]
            scores = teacher(pair.query, texts, [by_id.get(identifier) for identifier in identifiers])
        if scores is not None:
            examples.append(Example(pair.query, texts, tuple(scores)))
        on_pair(done, len(pairs))
    if not examples:
        raise UsageError(
            "The first stage finds the answer of no training pair, so it cannot be the teacher: "
            "leave out --distil, or let a cross-encoder score."
        )
    return examples


def competitors(
    pipeline: Pipeline, pairs: Sequence[TrainingPair], most: int, on_pair: OnPair = lambda done, total: None
) -> list[Passage]:
    """Return what the first stage finds for these questions, at most `most` passages, high ranks first."""
    ranked: list[Sequence[Hit]] = []
    for done, pair in enumerate(pairs, 1):
        ranked.append(pipeline.candidates(pair.query, LAST).hits[:LAST])
        on_pair(done, len(pairs))
    found: dict[int, Passage] = {}
    for rank in range(LAST):
        for hits in ranked:
            if rank < len(hits) and len(found) < most:
                found.setdefault(hits[rank].passage.rowid, hits[rank].passage)
    return list(found.values())


def likeness(a: str, b: str) -> float:
    """Return the Jaccard similarity of the sets of words of two texts, from 0 to 1."""
    words_of_a, words_of_b = (set(re.findall(r"\w+", text.lower())) for text in (a, b))
    return len(words_of_a & words_of_b) / max(len(words_of_a | words_of_b), 1)


def fusion_teacher(query: str, texts: Sequence[str], hits: Sequence[Hit | None]) -> list[float] | None:
    """Score as the first stage does; what it did not find is as bad as the worst that it did."""
    if hits[0] is None:
        return None
    lowest = min(hit.score for hit in hits if hit is not None)
    return [lowest if hit is None else hit.score for hit in hits]


def cross_encoder_teacher(pipeline: Pipeline, model: str) -> Callable[..., list[float]]:
    """Return a teacher that is a cross-encoder: an embedded one, or by folder or hub name."""
    from ragqa.encoders.device import Compute
    from ragqa.rerank.cross_encoder import CrossEncoderReranker, CrossEncoderSettings
    from ragqa.search.contracts import Resources

    compute = Compute(pipeline.config.device, pipeline.config.dtype)
    resources = Resources(pipeline.corpus, compute, lambda text: None)
    encoder = CrossEncoderReranker(CrossEncoderSettings(model=model), resources).score

    def score(query: str, texts: Sequence[str], hits: Sequence[Hit | None]) -> list[float]:
        return encoder(query, texts)

    return score


def _eligible(pair: TrainingPair, hits: Sequence[Hit], left_out: Collection[str]) -> list[Hit]:
    others = [
        hit
        for hit in hits
        if hit.passage.document_id not in pair.relevant
        and hit.passage.document_id not in left_out
        and likeness(read_without(hit.passage, pair.hidden), pair.text) < NEAR_DUPLICATE
    ]
    return others[FIRST - 1 : LAST] or others


def _draw(rng: random.Random, hits: Sequence[Hit], count: int) -> list[Hit]:
    """Return `count` hits or as many as there are, in their order."""
    chosen = sorted(rng.sample(range(len(hits)), min(count, len(hits))))
    return [hits[place] for place in chosen]


class _Others:
    """Passages drawn from the whole corpus, for questions that the first stage finds too little for."""

    def __init__(self, corpus: Corpus, left_out: Collection[str], rng: random.Random) -> None:
        self.corpus = corpus
        self.rng = rng
        rows = corpus.connection.execute(
            "SELECT p.rowid, d.id FROM passages p JOIN documents d ON d.rowid = p.document ORDER BY p.rowid"
        )
        self.rows = [(rowid, document) for rowid, document in rows if document not in left_out]

    def passages(self, pair: TrainingPair, count: int) -> list[Passage]:
        if count <= 0:
            return []
        rowids = [rowid for rowid, document in self.rows if document not in pair.relevant]
        if not rowids:
            raise UsageError(f"Every document answers {pair.query!r}, so there is nothing to tell it from.")
        return self.corpus.passages(self.rng.choices(rowids, k=count))
