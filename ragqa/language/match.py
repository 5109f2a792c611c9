"""From a question to an FTS5 match expression that is valid whatever the question holds."""

from __future__ import annotations

import re
from collections.abc import Set

# A word keeps inner hyphens, dots and the like ("shot-scraper", "3.11"): FTS5 reads such a quoted
# string as a phrase, which finds the exact name before its scattered parts.
WORD = re.compile(r"\w+(?:[-.'’/:+]\w+)*", re.UNICODE)
_PART = re.compile(r"[^\W_]+", re.UNICODE)


# As many distinct terms say what a question is about, and each costs a search where it is explained.
MOST_TERMS = 500


def match_terms(question: str, stop_words: Set[str]) -> list[str]:
    """Return the distinct terms of `question`, in order, without stop words; at most MOST_TERMS.

    A compound word gives the compound and its parts. A question made of stop words alone keeps
    them all, so that "to be or not to be" still finds something.
    """
    terms: dict[str, None] = {}
    dropped: dict[str, None] = {}
    for word in WORD.findall(question.lower()):
        parts = _PART.findall(word)
        kept = [part for part in parts if part not in stop_words]
        if len(parts) > 1 and kept:
            terms[" ".join(parts)] = None
        for part in parts:
            (terms if part in kept else dropped)[part] = None
    return list(terms or dropped)[:MOST_TERMS]


def match_expression(question: str, stop_words: Set[str]) -> str:
    """Return `question` as quoted terms joined by OR; empty when it has no letter or digit.

    FTS5 joins bare terms with AND, and a natural question then matches almost nothing; quoting
    makes every FTS5 operator in the question plain text (https://www.sqlite.org/fts5.html#full_text_query_syntax).
    """
    return " OR ".join(f'"{term}"' for term in match_terms(question, stop_words))
