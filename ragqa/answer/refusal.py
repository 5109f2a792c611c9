"""The sentence by which an answer says that the documents hold none, and how to know one."""

from __future__ import annotations

import re

REFUSAL = "The documents do not answer this."
# A refusal is short: an answer that only mentions what the passages lack is an answer.
LONGEST = 300

_NOT = r"(?:do(?:es)? not|don['’]t|doesn['’]t|did not|didn['’]t)"
_CANNOT = r"(?:can(?:not| not|['’]t)|could(?: not|n['’]t)|(?:am|['’]m|was|are|were) (?:unable|not able) to)"
_GIVEN = r"(?:provided|given|supplied|retrieved|available|above|here|following)"
# "The passages (that you gave me)": what may follow the noun is little, so that documents which say of
# something else that it does not contain anything are no refusal.
_SOURCES = (
    rf"(?:(?:{_GIVEN} )?(?:documents?|passages?|context|texts?|information|sources?|excerpts?)"
    rf"(?: {_GIVEN}"
    r"| (?:that |which )?(?:you (?:gave|provided)(?: me)?|i (?:have|was given)|(?:was|were) given)"
    r"| in the (?:documents|passages|context)| (?:about|on) [^.,;:]{1,40}?){0,2})"
)
_WORDS = re.compile(
    rf"\b{_SOURCES} {_NOT} (?:\w+ ){{0,2}}(?:answer|contain|mention|say|provide|include|specify|state)\b"
    r"|\b(?:not|never) (?:\w+ )?"
    r"(?:answered|contained|mentioned|provided|included|specified|stated|given|found)"
    rf" (?:anywhere )?(?:in|by) (?:the|these|any of the) {_SOURCES}"
    rf"|\bno (?:information|mention|answer)\b[^.]{{0,80}}\b(?:in|by) (?:the|these) {_SOURCES}"
    rf"|\b(?:i|we) ?{_CANNOT} (?:answer|find (?:an|the|any) (?:answer|information))"
    rf"|\b(?:question|this|it) {_CANNOT} be answered"
    r"|^unable to answer\b"
    r"|^(?:(?:i['’]m |i am )?sorry,? |unfortunately,? )?(?:but )?i (?:do not|don['’]t) know\b",
    re.I,
)


def is_refusal(text: str) -> bool:
    """Tell whether an answer says that there is none: begins with REFUSAL, or is short and says the same."""
    said = " ".join(text.split())
    sentence = REFUSAL.rstrip(".").lower()
    if said.lower().startswith(sentence):
        return True
    return len(said) <= LONGEST and (sentence in said.lower() or _WORDS.search(said) is not None)
