"""From a search to its explanation: what each stage matched, and which rank it gave each passage."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from ragqa.errors import UsageError
from ragqa.search.contracts import Composite, Explaining
from ragqa.search.one import Searcher
from ragqa.types import FUSED, ExplainedHit, Explanation, Hit, Matches, Passage, QueryWord, SearchResult

__all__ = ["Explanation", "explain", "explain_result"]


def explain(
    searcher: Searcher,
    question: str,
    k: int | None = None,
    document: str | None = None,
    passages: Collection[str] = (),
) -> Explanation:
    """Return the explanation of the best `k` hits (the config's by default), or of one document's passages.

    Those of a `document`, or where `passages` are given those of it with these ids, are explained whether
    or not they are found: first those that are, then others, with rank 0. Raises UsageError for an unknown
    document, and what `Pipeline.search` raises.
    """
    if document is not None:
        # Half a character is in no id, and SQLite cannot be asked for it.
        document = document.encode("utf-8", "replace").decode("utf-8")
    with searcher.snapshot():
        return _explain(searcher, question, k, document, passages)


def _explain(
    searcher: Searcher, question: str, k: int | None, document: str | None, passages: Collection[str]
) -> Explanation:
    # A document's passages get the ranks of an ordinary search, however many of them are shown.
    found = searcher.candidates(question, k if document is None else None)
    k = k or searcher.config.k
    stored = [] if document is None else _passages_of(searcher, document, found.hits)
    # All of them, so that every candidate's rank by every stage is known.
    ordered = searcher.rerank(found, max(k, len(found.hits))).hits
    if document is None:
        return _explained(searcher, found, ordered, ordered[:k], None)
    inside = [hit for hit in ordered if hit.passage.document_id == document]
    known = {hit.passage.rowid for hit in ordered}
    others = [passage for passage in stored if passage.rowid not in known]
    if passages:
        inside = [hit for hit in inside if hit.passage.id in passages]
        others = [passage for passage in others if passage.id in passages]
    chosen = [*inside[:k], *_outside(searcher, found.question, others, k - len(inside))]
    return _explained(searcher, found, ordered, chosen, document)


def explain_result(searcher: Searcher, result: SearchResult) -> Explanation:
    """Return the explanation of the hits of a search with this searcher."""
    candidates = result.candidates or result.hits
    ordered: Sequence[Hit] = candidates
    if searcher.config.rerank.type != "none":
        ordered = searcher.reranker.rerank(result.question, candidates, len(candidates))
    return _explained(searcher, replace(result, hits=candidates), ordered, result.hits, None)


def _explained(
    searcher: Searcher,
    found: SearchResult,
    ordered: Sequence[Hit],
    chosen: Sequence[Hit],
    document: str | None,
) -> Explanation:
    ranks = _ranks(searcher, found.hits, ordered)
    matches = _matches(searcher, found.question, chosen)
    hits = tuple(
        ExplainedHit(hit, ranks.get(hit.passage.rowid, {}), of_hit)
        for hit, of_hit in zip(chosen, matches, strict=True)
    )
    return Explanation(found.question, found.config, len(found.hits), _query_words(hits), hits, document)


def _ranks(
    searcher: Searcher, candidates: Sequence[Hit], ordered: Sequence[Hit]
) -> Mapping[int, Mapping[str, int]]:
    """Return every candidate's rank by each stage's score, stages in the order of a question's way."""
    place = {hit.passage.rowid: hit.rank for hit in candidates}
    ranks: dict[int, dict[str, int]] = {rowid: {} for rowid in place}
    for stage in _stages(candidates, ordered):
        scored = [hit for hit in ordered if stage in hit.scores]
        scored.sort(key=lambda hit: (-hit.scores[stage], place[hit.passage.rowid]))
        for rank, hit in enumerate(scored, 1):
            ranks[hit.passage.rowid][stage] = rank
        name = searcher.config.retrieve.type
        if stage == name and isinstance(searcher.retriever, Composite):
            # What joined the hits of another stage has scores of its own; the order counts.
            for rowid, rank in place.items():
                ranks[rowid][stage] = rank
    return ranks


def _stages(candidates: Sequence[Hit], ordered: Sequence[Hit]) -> list[str]:
    """Return the names of all scores: of the first stage's parts, of the first stage, of the second."""
    names = [list(hit.scores) for hit in candidates]
    parts = [name for scores in names for name in scores[:-1]]
    own = [name for scores in names for name in scores[-1:]]
    second = [name for hit in ordered for name in hit.scores]
    return list(dict.fromkeys([*parts, *own, *second]))


def _matches(searcher: Searcher, question: str, hits: Sequence[Hit]) -> list[tuple[Matches, ...]]:
    """Return the matches of each hit, by every stage that can tell; a name that comes again is numbered."""
    found: list[tuple[Matches, ...]] = [()] * len(hits)
    taken: dict[str, int] = {}
    for stage in [*_explaining(searcher.retriever), *_explaining(searcher.reranker)]:
        of_stage = stage.matches(question, hits) if hits else []
        for name in {matches.stage for matches in of_stage if matches is not None}:
            taken[name] = taken.get(name, 0) + 1
        for place, matches in enumerate(of_stage):
            if matches is not None:
                number = taken[matches.stage]
                name = f"{matches.stage}-{number}" if number > 1 else matches.stage
                found[place] = (*found[place], replace(matches, stage=name))
    return found


def _explaining(stage: object) -> Iterator[Explaining]:
    if isinstance(stage, Explaining):
        yield stage
    elif isinstance(stage, Composite):
        for part in stage.parts().values():
            yield from _explaining(part)


def _query_words(hits: Sequence[ExplainedHit]) -> tuple[QueryWord, ...]:
    words = {match.word for hit in hits for matches in hit.matches for match in matches.query}
    return tuple(sorted(words, key=lambda word: (word.end == 0, word.start, word.end, word.text)))


# -- a document that was asked for ------------------------------------------------------------------


def _passages_of(searcher: Searcher, document: str, hits: Sequence[Hit]) -> list[Passage]:
    """Return the passages of a document that the corpus has: none where `hits` came from elsewhere.

    Raises UsageError when there is no such document in either.
    """
    corpus = searcher.corpus
    rows = corpus.connection.execute(
        "SELECT p.rowid FROM passages p JOIN documents d ON d.rowid = p.document WHERE d.id = ?"
        " ORDER BY p.ordinal",
        [document],
    ).fetchall()
    if not rows and all(hit.passage.document_id != document for hit in hits):
        raise _unknown(searcher, document, hits)
    return corpus.passages([row[0] for row in rows])


def _outside(searcher: Searcher, question: str, passages: Sequence[Passage], k: int) -> list[Hit]:
    """Return the best `k` of passages that are no candidates, with rank 0 and the last stage's score."""
    if k < 1 or not passages:
        return []
    hits = [Hit(passage, rank, 0.0, {}) for rank, passage in enumerate(passages, 1)]
    if searcher.config.rerank.type != "none":
        # A reranker that counts other scores alone leaves out what has none.
        best = searcher.reranker.rerank(question, hits, len(hits))
        kept = {hit.passage.rowid for hit in best}
        hits = [*best, *(hit for hit in hits if hit.passage.rowid not in kept)]
    else:
        totals = [sum(matches.total for matches in of_hit) for of_hit in _matches(searcher, question, hits)]
        hits = [
            replace(hit, score=total)
            for hit, total in sorted(zip(hits, totals, strict=True), key=lambda pair: -pair[1])
        ]
    return [
        Hit(hit.passage, 0, hit.score, {stage: s for stage, s in hit.scores.items() if stage != FUSED})
        for hit in hits[:k]
    ]


def _unknown(searcher: Searcher, document: str, hits: Sequence[Hit]) -> UsageError:
    rows = searcher.corpus.connection.execute("SELECT id FROM documents ORDER BY id")
    known = list(dict.fromkeys([*(row[0] for row in rows), *(hit.passage.document_id for hit in hits)]))
    # A passage's id, or a part of the document's, is as likely as a slip of the pen.
    whole = document.rpartition("#")[0]
    close = [whole] if whole in known else [name for name in known if document and document in name]
    close = close or get_close_matches(document, known, 1, 0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UsageError(f"There is no document {document!r}.{hint}")
