"""Questions that no single passage answers, since they are about all documents together."""

from __future__ import annotations

import re

# What a corpus consists of, in the plural: a page, a file or an article is as often what a passage speaks of.
_DOCUMENTS = r"(?:notes|documents|corpus)"
_THESE = r"(?:(?:all|the|my|our|these|this|of) )+"
_OF_ALL = re.compile(
    rf"\b(?:how many|count|list|name|show|which of|compare)\b.*\b(?:in|across|among|of|from) "
    rf"{_THESE}{_DOCUMENTS}\b(?! (?:table|column|field|folder|directory)\b)"
    rf"|\b(?:how many|which|all|every) {_DOCUMENTS} (?:\w+ )?"
    r"(?:mention|contain|talk|speak|say|are about|are there)\b",
    re.I,
)


def asks_of_all(question: str) -> bool:
    """Tell whether a question asks to count or to list what is spread over the documents."""
    return _OF_ALL.search(" ".join(question.split())) is not None
