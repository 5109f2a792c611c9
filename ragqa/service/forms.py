"""The documented forms of results, one for `--json`, the web and other programs; sizes in words."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from ragqa.types import Answer, CheckedSentence, Context, Hit, Place, SearchResult

if TYPE_CHECKING:
    from ragqa.operations.compare import SideBySide
    from ragqa.types import Explanation, Matches


def search_json(result: SearchResult) -> dict[str, Any]:
    """Return the documented form of `search --json`."""
    return {
        "question": result.question,
        "config": result.config,
        "hits": [hit_json(hit) for hit in result.hits],
        "timings_ms": dict(result.timings_ms),
    }


def hit_json(hit: Hit) -> dict[str, Any]:
    """Return one element of `hits` in the documented forms."""
    passage = hit.passage
    return {
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "document_id": passage.document_id,
        "passage_id": passage.id,
        "location": passage.location,
        "place": place_json(passage.place),
        "title": passage.title,
        "source": passage.source,
        "text": passage.text,
        "metadata": dict(passage.metadata),
        "scores": {stage: round(score, 6) for stage, score in hit.scores.items()},
    }


def place_json(place: Place | None) -> dict[str, Any] | None:
    """Return a passage's `place`: null where its document has none."""
    if place is None:
        return None
    return {"kind": place.kind, "label": place.label, "first": place.first, "last": place.last}


def context_json(result: SearchResult, context: Context) -> dict[str, Any]:
    """Return the documented form of `context --json`."""
    return {
        **search_json(result),
        "context": context.text,
        "context_tokens": context.tokens,
        "passages": [
            {
                "number": block.number,
                "document_id": block.first.document_id,
                "passage_ids": [passage.id for passage in block.passages],
            }
            for block in context.blocks
        ],
    }


def answer_json(answer: Answer) -> dict[str, Any]:
    """Return the documented form of `ask --json`."""
    return {
        **search_json(answer.search),
        "timings_ms": dict(answer.timings_ms),
        "answer": answer.text,
        "model": answer.model,
        "refused": bool(answer.refused),
        "refused_by": answer.refused or None,
        "context_tokens": answer.context.tokens,
        "conversation_id": answer.conversation_id,
        "citations": [
            {
                "number": citation.number,
                "document_id": citation.passage.document_id,
                "passage_id": citation.passage.id,
                "location": citation.passage.location,
                "place": place_json(citation.passage.place),
                "support": None if citation.support is None else round(citation.support, 3),
            }
            for citation in answer.citations
        ],
        "removed_citations": list(answer.removed),
        "sentences": [sentence_json(sentence) for sentence in answer.sentences],
    }


def sentence_json(sentence: CheckedSentence) -> dict[str, Any]:
    """Return one element of `sentences` in the documented form of an answer."""
    return {
        "start": sentence.start,
        "end": sentence.end,
        "text": sentence.text,
        "cited": list(sentence.cited),
        "support": round(sentence.support, 3),
        "best": sentence.best,
        "verdict": sentence.verdict,
    }


def comparison_json(compared: SideBySide) -> dict[str, Any]:
    """Return the documented form of `compare --json`."""
    names = list(compared.results)
    return {
        "question": compared.question,
        "configs": {
            name: {
                "hits": [hit_json(hit) for hit in result.hits],
                "timings_ms": dict(result.timings_ms),
                "found_alone": compared.found_alone(name),
            }
            for name, result in compared.results.items()
        },
        "documents": [
            {"document_id": document.document_id, "title": document.title, "ranks": dict(document.ranks)}
            for document in compared.documents
        ],
        "overlap": {
            f"{one} / {other}": round(compared.overlap(one, other), 3)
            for one, other in itertools.combinations(names, 2)
        },
        "answers": {label: answer_json(answer) for label, answer in compared.answers.items()},
    }


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Return the documented form of `explain --json`."""
    index = {word: place for place, word in enumerate(explanation.query_words)}
    return {
        "question": explanation.question,
        "config": explanation.config,
        "document": explanation.document,
        "candidates": explanation.candidates,
        "query_words": [
            {"text": word.text, "start": word.start, "end": word.end} for word in explanation.query_words
        ],
        "hits": [
            {
                **hit_json(explained.hit),
                "rank": None if explained.outside else explained.hit.rank,
                "ranks": dict(explained.ranks),
                "matches": [_matches_json(matches, index) for matches in explained.matches],
            }
            for explained in explanation.hits
        ],
    }


def _matches_json(matches: Matches, index: dict[Any, int]) -> dict[str, Any]:
    numbers = [index[match.word] for match in matches.query]
    return {
        "stage": matches.stage,
        "total": round(matches.total, 6),
        "note": matches.note or None,
        "text": matches.text,
        "words": [
            [word.start, word.end, round(word.similarity, 4), numbers[word.query]] for word in matches.words
        ],
        "query": [
            {
                "index": number,
                "word": match.word.text,
                "best": list(match.best) if match.best else None,
                "similarity": round(match.similarity, 4),
                "share": round(match.share, 6),
            }
            for number, match in zip(numbers, matches.query, strict=True)
        ],
    }


def size(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
