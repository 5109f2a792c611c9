"""The words by which a sentence of an answer can be checked: its numbers, its names, what else it says."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ragqa.answer.citations import citation_marks
from ragqa.answer.refusal import is_refusal
from ragqa.language.stopwords import ENGLISH

# Said in words or in figures, a number is the same. "one" is more often a pronoun.
_SPELT = {
    word: str(number)
    for words, numbers in (
        (
            "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
            " seventeen eighteen nineteen",
            range(2, 20),
        ),
        ("twenty thirty forty fifty sixty seventy eighty ninety", range(20, 100, 10)),
    )
    for word, number in zip(words.split(), numbers, strict=True)
}
_WORD = re.compile(
    r"(?P<number>(?<!\w)(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)*))(?:(?:st|nd|rd|th|s)\b)?"
    r"|(?P<word>[^\W_]+)(?:['’]\w+)?"
)
# Longest first; what is left keeps at least three letters.
_ENDINGS = ("ingly", "edly", "ies", "ied", "ing", "ed", "es", "ly", "s", "e", "y")
# Names that begin alike are forms of one: Germany and German, Kenya and Kenyan.
_ALIKE = 4

# "## So", "**So**", and the same above a line of dashes.
_HEADING = re.compile(r"#{1,6}[ \t][^\n]*|(\*\*|__)[^\n*_.!]+\1|[^\n]+\n(?:-{3,}|={3,})")
# Words with which an answer begins or ends, and says nothing.
_POLITE = frozenset(
    ["yes", "sure", "certainly", "ok", "okay", "thanks", "thank", "hello", "hi", "sorry", "welcome", "hope"]
)
_LINE_MARK = re.compile(r"^[ \t]*(?:[-*+]|\d+[.)]|#{1,6}|>)[ \t]+", re.M)

# What is longer is no sentence; each word is compared with each of a context.
MOST_WORDS = 1_000

Kind = Literal["number", "name", "word"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word that says something, `text[start:end]`; words and names with the same `stem` are the same."""

    start: int
    end: int
    stem: str
    kind: Kind


def content_words(text: str) -> list[Word]:
    """Return the numbers, names and other words of a text, in order, without those of grammar.

    There are no more than MOST_WORDS. A name is a capitalised word. The first word of a sentence is one
    only if it has another capital in it: "Use Python" names one thing.
    """
    words: list[Word] = []
    for match in _WORD.finditer(text):
        if len(words) == MOST_WORDS:
            break
        if match["number"]:
            words.append(Word(*match.span("number"), match["number"].replace(",", ""), "number"))
            continue
        said = match["word"]
        lower = said.lower()
        if lower in _SPELT:
            words.append(Word(*match.span("word"), _SPELT[lower], "number"))
        elif lower not in ENGLISH:
            kind: Kind = "name" if _is_name(text, match) else "word"
            words.append(Word(*match.span("word"), stem(said), kind))
    return words


@lru_cache(maxsize=1 << 14)
def stem(word: str) -> str:
    """Return a word in small letters without accents and endings, so that its forms are the same."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(c))
    for ending in _ENDINGS:
        if plain.endswith(ending) and len(plain) - len(ending) >= 3:
            plain = plain[: -len(ending)]
            break
    return plain[:-1] if len(plain) > 3 and plain[-1] == plain[-2] else plain


def heads(stems: Iterable[str]) -> dict[str, list[str]]:
    """Return stems by their first letters, for `akin`."""
    found: dict[str, list[str]] = {}
    for one in dict.fromkeys(stems):
        if len(one) >= _ALIKE:
            found.setdefault(one[:_ALIKE], []).append(one)
    return found


def akin(name: str, others: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether a name's stem and one of `others`, by their heads, are forms of one."""
    return any(other.startswith(name) or name.startswith(other) for other in others.get(name[:_ALIKE], ()))


def unmarked(sentence: str) -> str:
    """Return a sentence without its citations, the space before them, and marks of lists and headings."""
    pieces, position = [], 0
    for mark in citation_marks(sentence):
        pieces.append(sentence[position : mark.start()].rstrip(" \t"))
        position = mark.end()
    return _LINE_MARK.sub("", "".join(pieces) + sentence[position:]).strip()


def claims_nothing(sentence: str) -> bool:
    """Tell whether there is nothing to check in a sentence of an answer.

    So it is with a question, a heading, what introduces something that is not there, a refusal, and
    a sentence without a content word.
    """
    bare = unmarked(sentence)
    return bool(
        bare.rstrip("*_").endswith(("?", ":"))
        or _HEADING.fullmatch(sentence.strip())
        or is_refusal(bare)
        or _POLITE.issuperset(bare[word.start : word.end].lower() for word in content_words(bare))
    )


def _is_name(text: str, match: re.Match[str]) -> bool:
    said = match["word"]
    if any(char.isupper() for char in said[1:]):
        return True
    place = match.start() - 1
    while place >= 0 and text[place] in " \"'“‘(*_#-":
        place -= 1
    return said[0].isupper() and place >= 0 and text[place] not in ".!?:\n"
