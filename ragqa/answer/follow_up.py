"""Follow-up questions as text: which lean on what was said before, and what makes them stand alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragqa.answer.claims import content_words
from ragqa.answer.refusal import is_refusal
from ragqa.language.match import WORD
from ragqa.language.stopwords import ENGLISH
from ragqa.types import Turn

LONGEST_QUESTION = 300
# A question with fewer words of content says little by itself; one with so many before a pronoun has
# what the pronoun stands for in it.
FEW_WORDS = 3
# Of the question before, the words that a follow-up is joined with.
MOST_JOINED = 8
LONGEST_WORD = 60

_OPENING = re.compile(
    r"\s*(?:(?:and|but|or|so|then|also|what about|how about|what if)\b|(?:why|how)(?: (?:not|so))?\W*\Z)",
    re.I,
)
_PRONOUN = re.compile(
    r"\b(?:it|its|they|them|their|theirs|he|him|his|she|her|hers|this|these|those|former|latter)\b"
    # "Check that it works" points nowhere, "does that work" does; so with "is there a way" and "who lives
    # there", "one line" and "which one".
    r"|(?<![^\W_])(?:do|does|did|is|was|can|could|will|would|about|like|with|for|of|in|on|to|than|after|and)"
    r" that\b"
    r"|(?<!is )(?<!are )(?<!was )(?<!were )\bthere\b(?! (?:is|are|was|were)\b)"
    r"|\b(?:that|which|this|the|other|another|first|second|last|better|best) ones?\b|\bones?(?=\W*$)",
    re.I,
)
_OF_A_NAME = re.compile(r"its|their|theirs|he|him|his|she|her|hers", re.I)
# "How long does it take", "is it possible": nothing is meant by it.
_EMPTY_IT = re.compile(r"\b(?:is it (?:possible|safe|worth|ok|necessary)|(?:does|did|will) it take)\b", re.I)
_JOINED = re.compile(r"\s\(([^()]*)\)\s*\Z")
_ASKS = re.compile(
    r"(?:what|which|who|whom|whose|when|where|why|how|do|does|did|is|are|was|were|can|could|will|would|should"
    r"|has|have|had|may|explain|describe|list|tell|show|give|compare|find|name|define)\b",
    re.I,
)
_LABEL = re.compile(r"\W*(?:[\w-]+ ){0,3}question\W*?:\W*(?=\w)", re.I)
_CIRCUMSTANCE = re.compile(
    r"\s*(?:in|on|at|for|with|without|from|to|by|via|using|during|after|before|under)\s+(?!wh|how\b)", re.I
)
_DEFINES = re.compile(r"\s*(?:what|who)(?:'s|’s| is| are| was| were)\s", re.I)


def accepted(reply: str, question: str, turns: Sequence[Turn]) -> str:
    """Return the question in a model's reply; "" when the reply is anything else, as far as one can tell."""
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        del lines[0]
    if len(lines) != 1:
        return ""
    candidate = _bare(lines[0])
    if not candidate or len(candidate) > LONGEST_QUESTION or is_refusal(candidate):
        return ""
    if not candidate.endswith(("?", "？")) and not _ASKS.match(candidate):
        return ""
    own, said = _stems(question), _stems(candidate)
    before = set[str]().union(*(_stems(text) for turn in turns for text in (turn.question, turn.answer)))
    # It still asks what was asked, and most of its words come from there or from the conversation.
    keeps = 2 * len(own & said) >= len(own)
    return candidate if said and keeps and 2 * len(said & (own | before)) >= len(said) else ""


def join(question: str, before: Sequence[str]) -> str:
    """Return a question with the content of those `before` it in brackets, where it leans on them.

    The questions before it, oldest first, are joined in the same way, from the last that stands alone.
    """
    start = next((place for place in reversed(range(len(before))) if not leans(before[place])), 0)
    joined = ""
    for asked in (*before[start:], question):
        joined = _joined(asked, joined)
    return joined


def _joined(question: str, before: str) -> str:
    if not before or not leans(question):
        return question
    own = {word.lower() for word in WORD.findall(question)}
    # The subject stands in brackets already when that question was a follow-up as well.
    inner = _JOINED.search(before)
    words = [*_content(inner[1] if inner else ""), *_content(_JOINED.sub("", before))]
    new = dict.fromkeys(word for word in words if word.lower() not in own and len(word) <= LONGEST_WORD)
    return f"{question} ({' '.join(list(new)[:MOST_JOINED])})" if new else question


def leans(question: str) -> bool:
    """Tell whether a question leans on what was said before it; one that is joined already does not."""
    if _JOINED.search(question):
        return False
    words = _content(question)
    if _OPENING.match(question):
        return True
    if len(words) < FEW_WORDS and not _names_its_subject(question, words):
        return True
    question = _EMPTY_IT.sub("", question)
    return any(not _has_its_noun(question, pronoun) for pronoun in _PRONOUN.finditer(question))


def _has_its_noun(question: str, pronoun: re.Match[str]) -> bool:
    """Tell whether what a pronoun stands for is in the question before it, as far as one can tell."""
    words = _content(question[: pronoun.start()])
    named = any(word[0].isupper() for word in words) and _OF_A_NAME.fullmatch(pronoun[0]) is not None
    return named or len(words) >= FEW_WORDS


def _names_its_subject(question: str, words: Sequence[str]) -> bool:
    """Tell whether a short question has a subject of its own, as "what is Datasette Lite?" has.

    "In GitHub Actions?" has a name, but as a circumstance.
    """
    if not words or _CIRCUMSTANCE.match(question):
        return False
    return _DEFINES.match(question) is not None or any(
        any(char.isupper() for char in word[1:]) or (not word.isalpha() and any(map(str.isalpha, word)))
        for word in words
    )


def _content(text: str) -> list[str]:
    """Return the words of a text that are not grammar; "shot-scraper" is one."""
    return [
        word
        for word in WORD.findall(text)
        if any(part and part not in ENGLISH for part in re.split(r"[\W_]+", word.lower()))
    ]


def _stems(text: str) -> set[str]:
    return {word.stem for word in content_words(text)}


def _bare(line: str) -> str:
    """Return a line without a label such as "Question:" before it and quotes or emphasis around it."""
    line = _LABEL.sub("", line, count=1) if _LABEL.match(line) else line
    line = re.sub(r"^(?:[-*>]|\d+[.)])[ \t]+", "", line.strip())
    return line.strip(" \t\"'“”‘’«»`*_")
