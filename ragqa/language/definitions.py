"""Questions that ask what something is, sentences that say it, and sentences that only ask it again.

MaxSim prefers the sentence with the most words like the question's, which is seldom the short one
that defines its subject. Patterns of definitions are the classic remedy (Hildebrandt, Katz and Lin
2004, HLT-NAACL, pp. 49-56).
"""

from __future__ import annotations

import re

_QUESTION = re.compile(
    r"^(?:what|who)(?:\s+(?:is|are|was|were)|['’]s)\s+(?:(?:a|an|the)\s+)?(?P<subject>[^?]{1,40}?)\s*\?*$",
    re.I,
)
_SAYS = r"(?::|\s[-–—]\s|\s+(?:is|are|was|were)\s+(?:a|an|the|one)\b(?!\s+(?:lot|bit|little|few|way)\b))"


def subject_of(question: str) -> str | None:
    """Return X of "what is X?" when X is at most four words; else None."""
    match = _QUESTION.match(question.strip())
    if match is None or len(match["subject"].split()) > 4:
        return None
    return match["subject"]


def defines(sentence: str, subject: str) -> bool:
    """Tell whether `sentence` begins with `subject`, marked up or not, and says what it is."""
    name = r"[\s-]+".join(re.escape(word) for word in re.split(r"[\s-]+", subject))
    mark_up = r"[*_`\[\]\"“”]*"
    link = r"(?:\([^)]*\))?"
    return (
        re.match(rf"^\W*(?:the\s+)?{mark_up}{name}{mark_up}{link}{mark_up}{_SAYS}", sentence, re.I)
        is not None
    )


def echoes(sentence: str, question: str) -> bool:
    """Tell whether `sentence` holds all of a question of three words or more, word for word."""
    asked = " ".join(re.findall(r"\w+", question.lower()))
    said = " ".join(re.findall(r"\w+", sentence.lower()))
    return asked.count(" ") >= 2 and f" {asked} " in f" {said} "
