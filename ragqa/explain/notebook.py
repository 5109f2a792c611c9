"""How results look in a notebook: HTML that needs no style sheet and no script, light or dark."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from html import escape

from ragqa.errors import RagqaError
from ragqa.safety.untrusted import for_terminal, is_web
from ragqa.types import Answer, CheckedSentence, ExplainedHit, Hit, Passage, SearchResult

# An amber that is seen on white and on black, for words from no match to a strong one.
_SHADES = (0.0, 0.15, 0.3, 0.5, 0.8)
_MARKS = {"supported": ("✓", "#2e9e4f"), "unsupported": ("✗ unsupported", "#d64545")}


def register() -> None:
    """Have notebooks show results and answers so; done by whoever makes them."""
    for kind, shown in ((SearchResult, search_html), (Answer, answer_html)):
        setattr(kind, "_repr_html_", shown)  # noqa: B010  (mypy: a method is assigned)


def search_html(result: SearchResult) -> str:
    """Return the hits of a search, each word shaded by how strongly a word of the question matched it.

    Without shading where the corpus is closed by now.
    """
    explained: list[ExplainedHit | None] = [None] * len(result.hits)
    if result.explainer is not None:
        with suppress(RagqaError, sqlite3.Error):
            explained = list(result.explainer(result).hits)
    hits = "".join(_hit(hit, one) for hit, one in zip(result.hits, explained, strict=True))
    return f"<div><p><strong>{_safe(result.question)}</strong> ({_safe(result.config)})</p>{hits}</div>"


def answer_html(answer: Answer) -> str:
    """Return an answer with the marks beside its checked sentences, and its sources."""
    pieces, position = [], 0
    for sentence in answer.sentences:
        pieces.append(_safe(answer.text[position : sentence.end]) + _mark(sentence))
        position = sentence.end
    pieces.append(_safe(answer.text[position:]))
    cited = "".join(
        f"<li value='{citation.number}'>{_reference(citation.passage)}</li>" for citation in answer.citations
    )
    sources = f"<p>Sources</p><ol>{cited}</ol>" if cited else ""
    return f"<div><div style='white-space:pre-wrap'>{''.join(pieces)}</div>{sources}</div>"


def _hit(hit: Hit, explained: ExplainedHit | None) -> str:
    from ragqa.explain.segments import segments, shown

    scores = ", ".join(f"{stage} {score:.4g}" for stage, score in hit.scores.items())
    main = shown(explained) if explained else None
    if explained and main:
        text = "".join(_word(segment.text, segment.level) for segment in segments(explained, main.text))
    else:
        text = _safe(hit.passage.text)
    return (
        f"<details open><summary>{hit.rank}. {_reference(hit.passage)} "
        f"<small>{_safe(scores)}</small></summary>"
        f"<div style='white-space:pre-wrap;margin:.5em 0 1em 1.5em'>{text}</div></details>"
    )


def _word(text: str, level: int) -> str:
    if not level:
        return _safe(text)
    return f"<span style='background:rgba(255,160,0,{_SHADES[level]})'>{_safe(text)}</span>"


def _mark(sentence: CheckedSentence) -> str:
    said, color = _MARKS.get(sentence.verdict, (f"✗ rather [{sentence.best}]", "#b8860b"))
    return f" <span style='color:{color}' title='support {sentence.support:.2f}'>{said}</span>"


def _reference(passage: Passage) -> str:
    name = _safe(passage.title or passage.document_id)
    if is_web(passage.source):
        return f"<a href='{_safe(passage.source)}' rel='noreferrer noopener'>{name}</a>"
    return f"{name} ({_safe(passage.location)})"


def _safe(text: str) -> str:
    return escape(for_terminal(text), quote=True)
