"""Questions that no single passage answers, since they are about all documents together."""

from __future__ import annotations

import re

_DOCUMENTS = r"(?:notes?|documents?|files?|pages?|posts?|entries|articles|corpus|collection|folder)"
_OF_ALL = re.compile(
    rf"\bhow many\b.*\b(?:in|across|among|of) (?:all |the |my |our |these |this )+{_DOCUMENTS}\b"
    rf"|\bhow many (?:\w+ )?{_DOCUMENTS}\b"
    rf"|^\W*(?:please )?(?:count|list|name|show(?: me)?|give me) (?:all|every|each)\b"
    rf"|\bwhich (?:\w+ )?{_DOCUMENTS} (?:mention|contain|talk|speak|say)\b",
    re.I,
)


def asks_of_all(question: str) -> bool:
    """Tell whether a question asks to count or to list what is spread over the documents."""
    return _OF_ALL.search(" ".join(question.split())) is not None
