"""The sentence by which an answer says that the documents hold none, and how to know one."""

from __future__ import annotations

import re

REFUSAL = "The documents do not answer this."
# A refusal is short: an answer that only mentions what the passages lack is an answer.
LONGEST = 300

_WORDS = re.compile(
    r"\b(?:documents|passages|context|text|information|sources)\b[^.]{0,60}\b(?:do(?:es)? not|don['’]t|doesn['’]t)"
    r"\s+(?:\w+\s+){0,2}(?:answer|contain|mention|say|provide|include|specify|state)\b"
    r"|\b(?:can(?:not|['’]t| not)|unable to)\s+(?:be\s+)?answer"
    r"|^i (?:do not|don['’]t) know\b",
    re.I,
)


def is_refusal(text: str) -> bool:
    """Tell whether an answer says that there is none: REFUSAL, or the same in a model's own words."""
    said = " ".join(text.split())
    return REFUSAL.rstrip(".").lower() in said.lower() or (
        len(said) <= LONGEST and _WORDS.search(said) is not None
    )
