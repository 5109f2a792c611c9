"""Statements known to be right or wrong, made from questions, their golden answers and the passages.

They stand for the sentences of answers: what a passage says, what question and answer say together,
and both with something in them changed. Everything drawn is drawn with a seed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragqa.answer.claims import Kind, content_words
from ragqa.answer.sentences import split_sentences
from ragqa.evaluate.questions import JudgedQuestion
from ragqa.language.stopwords import ENGLISH
from ragqa.types import ContextBlock, Verdict

# The two kinds of right statements on one passage.
OWN_WORDS = "question and answer"
VERBATIM = "verbatim"

_AFTER = (
    "is|are|was|were|did|does|do|has|have|had|can|could|will|would|should|may|might|must|'s|’s"
    "|in|on|at|of|by|to|for"
)
_ASKING = re.compile(
    rf"\b(?:(?:what|which)(?:\s+(?!(?:{_AFTER})\b)[\w'’-]+){{0,3}}?(?=\s+(?:{_AFTER})\b)"
    r"|how (?:many|much|long|often|far|old|big|large|tall|high)"
    r"|what|which|whose|who|whom|when|where|why|how)\b",
    re.I,
)
_NUMBER_WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence with the numbers that it cites, and what the check should say of it.

    `hidden` are blocks of the context that it is checked without.
    """

    kind: str
    text: str
    cited: tuple[int, ...]
    expected: Verdict
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Strange:
    """Answers and names from anywhere in a collection, to put where they are wrong."""

    answers: Mapping[Kind, Sequence[str]]
    names: Sequence[str]
    by_document: Mapping[str, Sequence[JudgedQuestion]]


def strange(questions: Sequence[JudgedQuestion]) -> Strange:
    """Collect what can be put in a wrong place."""
    answers: dict[Kind, list[str]] = {"number": [], "name": [], "word": []}
    by_document: dict[str, list[JudgedQuestion]] = {}
    for question in questions:
        for answer in question.golden_answers[:1]:
            answers[kind_of(answer)].append(answer)
        for document in question.relevant:
            by_document.setdefault(document, []).append(question)
    names = sorted(
        {a[w.start : w.end] for a in answers["name"] for w in content_words(a) if w.kind != "number"}
    )
    return Strange(answers, [name for name in names if name[0].isupper() and len(name) > 2], by_document)


def kind_of(answer: str) -> Kind:
    """Return "number" for an answer with a number in it, "name" for one with a capital, else "word"."""
    if any(word.kind == "number" for word in content_words(answer)):
        return "number"
    return "name" if any(char.isupper() for char in answer) else "word"


def state(question: str, answer: str) -> str:
    """Return question and answer as one statement: the answer stands where the question word stood."""
    bare = question.strip().rstrip("?").strip()
    stated, found = _ASKING.subn(lambda _: answer, bare, count=1)
    stated = stated if found else f"{bare}: {answer}"
    return f"{stated[:1].upper()}{stated[1:]}."


def plain_words(text: str) -> str:
    """Return all words of a text in small letters, a space before and after each."""
    return " ".join(["", *(match[0].lower() for match in re.finditer(r"\w+", text)), ""])


def recased(question: str, text: str) -> str:
    """Return a question with its words capitalised that `text` has only so, as a model would write them."""
    seen = set(re.findall(r"\w+", text))
    capital = {
        word.lower(): word for word in seen if word[0].isupper() and not {word.lower()} & (seen | ENGLISH)
    }
    return re.sub(r"\w+", lambda match: capital.get(match[0], match[0]), question)


def statements(
    question: JudgedQuestion, blocks: Sequence[ContextBlock], others: Strange, seed: int = 0
) -> list[Statement]:
    """Return right and wrong statements on a question whose passage is in the context; none without it."""
    rng = random.Random(f"{seed} {question.id}")
    gold = next((b for b in blocks if b.first.document_id in question.relevant), None)
    answer = _said(question, gold.text) if gold else None
    if gold is None or answer is None:
        return []
    asked = recased(question.text, f"{gold.first.title} {gold.text}")
    right = state(asked, answer)
    made = [Statement(OWN_WORDS, right, (gold.number,), "supported")]
    sentence = _sentence(gold.text, question.text, answer)
    if sentence:
        made.append(Statement(VERBATIM, sentence, (gold.number,), "supported"))
    made += _two(right, gold, blocks, others)
    for kind, wrong in _wrong_answers(question, gold, answer, others, rng):
        made.append(Statement(kind, state(asked, wrong), (gold.number,), "unsupported"))
    for form, text in ((OWN_WORDS, right), (VERBATIM, sentence)):
        made += [
            Statement(f"{kind}, {form}", altered, (gold.number,), "unsupported")
            for kind, altered in _altered(text, gold.text, others, rng)
        ]
    holding = tuple(b.number for b in blocks if b is gold or plain_words(answer) in plain_words(b.text))
    elsewhere = [b.number for b in blocks if b.number not in holding]
    if elsewhere:
        cited = (rng.choice(elsewhere),)
        made.append(Statement("other passage cited", right, cited, "wrong citation"))
        if sentence:
            made.append(Statement("other passage cited, verbatim", sentence, cited, "wrong citation"))
        made.append(Statement("passage not given", right, cited, "unsupported", holding))
    return made


def _said(question: JudgedQuestion, text: str) -> str | None:
    """Return the golden answer that `text` has, as it is written there."""
    for answer in question.golden_answers:
        match = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.I)
        if match:
            return match[0].rstrip(" .,;")
    return None


def _sentence(text: str, question: str, answer: str) -> str:
    """Return the sentence of `text` that has the answer and most words of the question."""
    wanted = {word.stem for word in content_words(question)}
    sentences = [text[start:end] for start, end in split_sentences(text)]
    return max(
        (sentence for sentence in sentences if plain_words(answer) in plain_words(sentence)),
        key=lambda sentence: len(wanted & {word.stem for word in content_words(sentence)}),
        default="",
    )


def _two(
    right: str, gold: ContextBlock, blocks: Sequence[ContextBlock], others: Strange
) -> Iterator[Statement]:
    """Yield a right statement that takes two passages: this one's and another question's."""
    for block in blocks:
        for other in others.by_document.get(block.first.document_id, ()) if block is not gold else ():
            answer = _said(other, block.text)
            if answer:
                second = state(recased(other.text, f"{block.first.title} {block.text}"), answer)
                text = f"{right.rstrip('.')}, and {second}"
                yield Statement("two passages", text, (gold.number, block.number), "supported")
                return


def _wrong_answers(
    question: JudgedQuestion, gold: ContextBlock, answer: str, others: Strange, rng: random.Random
) -> Iterator[tuple[str, str]]:
    """Yield a wrong answer of the same kind that the passage has, and one that it has not."""
    kind, text = kind_of(answer), plain_words(gold.text)
    asked = plain_words(" ".join([question.text, *question.golden_answers]))
    near = [
        other.golden_answers[0]
        for other in others.by_document.get(gold.first.document_id, ())
        if other.golden_answers and kind_of(other.golden_answers[0]) == kind
    ]
    if kind != "word":
        near += _runs(gold.text, kind)
    near = [a for a in near if not set(plain_words(a).split()) & set(asked.split()) and a in gold.text]
    if near:
        yield f"answer of the same passage ({kind})", rng.choice(near)
    far = [a for a in others.answers[kind] if plain_words(a) not in text and plain_words(a) not in asked]
    if far:
        yield f"answer from elsewhere ({kind})", rng.choice(far)


def _runs(text: str, kind: Kind) -> list[str]:
    """Return the names or numbers of a text, those that follow each other as one."""
    runs: list[tuple[int, int]] = []
    for word in content_words(text):
        if word.kind != kind:
            continue
        if runs and not text[runs[-1][1] : word.start].strip():
            runs[-1] = (runs[-1][0], word.end)
        else:
            runs.append((word.start, word.end))
    return [text[start:end] for start, end in runs]


def _altered(text: str, passage: str, others: Strange, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield the text with one number, and with one name, that the passage does not have."""
    words = content_words(text)
    has = {word.stem for word in content_words(passage)}
    for kind in ("number", "name"):
        places = [word for word in words if word.kind == kind]
        # Where no golden answer is capitalised there is no name to put in another's place.
        if not places or (kind == "name" and not others.names):
            continue
        place = rng.choice(places)
        for _ in range(20):
            said = text[place.start : place.end]
            new = _other_number(said, rng) if kind == "number" else rng.choice(others.names)
            if not {word.stem for word in content_words(f"a {new}")} & has:
                yield f"{kind} altered", text[: place.start] + new + text[place.end :]
                break


def _other_number(said: str, rng: random.Random) -> str:
    if not said[0].isdigit():
        return rng.choice(_NUMBER_WORDS)
    # A year stays one of the same century or so: the first digits stay.
    kept = 2 if len(said) > 3 else 0
    return said[:kept] + "".join(rng.choice("123456789") if char.isdigit() else char for char in said[kept:])
