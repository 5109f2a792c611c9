"""What a reader of an answer should know beside it, the same on every face."""

from __future__ import annotations

from ragqa.types import Answer, Passage

# What a refusal names of what was nearest.
CLOSEST = 3


def remarks(answer: Answer) -> list[str]:
    """Return what there is to know of the answer's citations, in sentences."""
    said = []
    removed = ", ".join(f"[{number}]" for number in answer.removed)
    if removed:
        said.append(f"Removed: {removed}, which no passage stands for.")
    bad = sum(sentence.verdict == "unsupported" for sentence in answer.sentences)
    wrong = sum(sentence.verdict == "wrong citation" for sentence in answer.sentences)
    whole = len(answer.sentences)
    if bad:
        said.append(f"{bad} of {whole} sentences {'has' if bad == 1 else 'have'} no support in the passages.")
    if wrong:
        said.append(
            f"{wrong} of {whole} sentences {'cites' if wrong == 1 else 'cite'} another passage than the one "
            "that supports it."
        )
    return said


def holds(answer: Answer) -> bool:
    """Tell whether every checked sentence is supported by what it cites, and nothing else is cited."""
    return not answer.removed and all(sentence.verdict == "supported" for sentence in answer.sentences)


def closest(answer: Answer) -> list[Passage]:
    """Return the best passage of each of the CLOSEST documents that were found first."""
    found: dict[str, Passage] = {}
    for hit in answer.search.hits:
        found.setdefault(hit.passage.document_id, hit.passage)
    return list(found.values())[:CLOSEST]
