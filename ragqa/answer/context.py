"""The context: the best passages, numbered, merged where they touch, within a budget of tokens.

What a passage says is data. Its lines are quoted as in an e-mail, so that nothing in it can begin another
passage or end the passages.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragqa.answer.evidence import NEARLY, SentenceRanker
from ragqa.safety.untrusted import for_model
from ragqa.types import Context, ContextBlock, Hit, Passage

DATE_NAMES = ("created", "date", "published", "updated", "modified")
# A part of a passage smaller than this says too little to be worth its header.
SMALLEST_PART = 24
SENTENCES_PER_PASSAGE = 3
# A title or a source longer than this many characters is cut: it is there to tell passages apart.
LONGEST_TITLE = 200
LONGEST_SOURCE = 200

_GAP = "\n\n"
_HEADER = re.compile(r"\[([0-9]{1,9})\](?: .*)?")
_NUMBER = re.compile(r"\[(\s*\d[\d,;\s]*)\]")


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `tokens` tokens, as `count` counts them, and `passages` passages."""

    tokens: int
    passages: int
    count: Callable[[str], int]


def assemble(hits: Sequence[Hit], budget: Budget) -> Context:
    """Return the context made of the best hits that fit.

    Blocks come in the order of their best passage. Passages that follow each other in a document
    are one block; a passage whose words were already said is dropped. A passage that no longer fits
    is left out; the very first is cut instead.
    """
    chosen: list[Passage] = []
    context = _context([], budget)
    for hit in hits:
        if len(chosen) == budget.passages:
            break
        if _said(hit.passage.text, chosen):
            continue
        grown = _context(_blocks([*chosen, hit.passage]), budget)
        if grown.tokens <= budget.tokens:
            chosen.append(hit.passage)
            context = grown
        elif not chosen:
            return _cut(hit.passage, budget)
    return context


def assemble_sentences(
    hits: Sequence[Hit], budget: Budget, question: str, rank_sentences: SentenceRanker
) -> Context:
    """Return a context of the best-matching sentences of each passage, in reading order, best passage first.

    Each passage gives up to SENTENCES_PER_PASSAGE of those that match nearly as well as the best of
    all; the weakest go first when the budget is short. Passages without a sentence are given whole.
    """
    passages: list[Passage] = []
    for hit in hits:
        if len(passages) < budget.passages and not _said(hit.passage.text, passages):
            passages.append(hit.passage)
    ranked = rank_sentences(question, [_block(1, [passage]) for passage in passages])
    least = NEARLY * max((sentence.score for sentences in ranked for sentence in sentences), default=0)
    kept = [
        sorted((s for s in sentences if s.score >= least), key=lambda s: -s.score)[:SENTENCES_PER_PASSAGE]
        for sentences in ranked
    ]
    if not any(kept):
        return assemble(hits, budget)
    while True:
        blocks: list[ContextBlock] = []
        for passage, sentences in zip(passages, kept, strict=True):
            if sentences:
                in_order = sorted(sentences, key=lambda sentence: sentence.start)
                text = " … ".join(sentence.text for sentence in in_order)
                blocks.append(ContextBlock(len(blocks) + 1, (passage,), (0,), text))
        context = _context(blocks, budget)
        if context.tokens <= budget.tokens or sum(map(len, kept)) <= 1:
            return context if context.tokens <= budget.tokens else _cut(blocks[0].first, budget)
        weakest = min((s for s in kept if s), key=lambda sentences: sentences[-1].score)
        weakest.pop()


def render(blocks: Sequence[ContextBlock]) -> str:
    """Return the blocks as the model reads them: "[1] title (date, source)", then each line after "> "."""
    return "\n\n".join(f"{_header(block)}\n{_quoted(block.text)}" for block in blocks)


@dataclass(frozen=True, slots=True)
class ParsedContext:
    """The numbers and texts of the blocks in a text, and what stands after the last of them."""

    blocks: list[tuple[int, str]]
    after: str


def parse(text: str) -> ParsedContext:
    """Return the blocks that `render` wrote and what follows them; a header without quoted lines is none."""
    lines = text.split("\n")
    blocks: list[tuple[int, str]] = []
    place = end = 0
    while place < len(lines):
        header = _HEADER.fullmatch(lines[place])
        place += 1
        if header is None:
            continue
        quoted = list(itertools.takewhile(_is_quoted, lines[place:]))
        if quoted:
            blocks.append((int(header[1]), "\n".join(line[2:] for line in quoted)))
            place = end = place + len(quoted)
    return ParsedContext(blocks, "\n".join(lines[end:]))


def whole(block: ContextBlock) -> ContextBlock:
    """Return the block with all of its passages' text, of which a context may have only some sentences."""
    return _block(block.number, block.passages)


def passage_date(passage: Passage) -> str:
    """Return the day the passage's document names as its date, or ""."""
    for name in DATE_NAMES:
        value = passage.metadata.get(name)
        if isinstance(value, str) and value:
            return value[:10]
    return ""


def _header(block: ContextBlock) -> str:
    passage = block.first
    steps = [_label(step) for step in (passage.title or passage.document_id, *passage.headings)]
    title = shortened(" > ".join(step for step in steps if step), LONGEST_TITLE)
    about = ", ".join(
        part
        for part in (
            _label(passage_date(passage)),
            shortened(_label(passage.source), LONGEST_SOURCE),
            _label(_place(passage)),
        )
        if part
    )
    return " ".join(part for part in (f"[{block.number}]", title, f"({about})" if about else "") if part)


def _place(passage: Passage) -> str:
    """Return on which page or slide a passage stands, but not its lines: a model cites numbers."""
    counted = passage.place is None or passage.place.kind == "line"
    return "" if counted else str(passage.place)


def _label(text: str) -> str:
    """Return `text` as one line without what looks like the number of a passage."""
    return _NUMBER.sub(r"(\1)", " ".join(for_model(text).split()))


def shortened(text: str, length: int) -> str:
    """Return `text`, or as much of it and an ellipsis as `length` characters hold."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in for_model(text).split("\n"))


def _is_quoted(line: str) -> bool:
    return line == ">" or line.startswith("> ")


def _context(blocks: Sequence[ContextBlock], budget: Budget) -> Context:
    text = render(blocks)
    return Context(text, tuple(blocks), budget.count(text) if text else 0)


def _blocks(passages: Sequence[Passage]) -> list[ContextBlock]:
    """Number the passages, those that touch joined at the place of the first of them.

    Pages and the like are not joined, for a citation names one.
    """
    groups: list[list[Passage]] = []
    for passage in passages:
        touching = [
            group
            for group in groups
            if any(
                other.document_id == passage.document_id
                and abs(other.ordinal - passage.ordinal) == 1
                and _page(other) == _page(passage)
                for other in group
            )
        ]
        if not touching:
            groups.append([passage])
            continue
        touching[0].append(passage)
        for other_group in touching[1:]:
            touching[0].extend(other_group)
            groups.remove(other_group)
    return [
        _block(number, sorted(group, key=lambda passage: passage.ordinal))
        for number, group in enumerate(groups, 1)
    ]


def _page(passage: Passage) -> str:
    return "" if passage.place is None else passage.place.label


def _block(number: int, passages: Sequence[Passage]) -> ContextBlock:
    """Join passages that follow each other; what two of them share is said once."""
    text = passages[0].text
    offsets = [0]
    for before, after in itertools.pairwise(passages):
        shared = before.end - after.start
        offsets.append(len(text) - shared if shared > 0 else len(text) + len(_GAP))
        text += after.text[shared:] if shared > 0 else f"{_GAP}{after.text}"
    return ContextBlock(number, tuple(passages), tuple(offsets), text)


def _said(text: str, passages: Sequence[Passage]) -> bool:
    words = " ".join(text.split())
    return any(words in " ".join(passage.text.split()) for passage in passages)


def _cut(passage: Passage, budget: Budget) -> Context:
    """Return a context of as much of one passage as fits, found by halving."""
    low, high = 0, len(passage.text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = _context([_cut_block(passage, middle)], budget).tokens <= budget.tokens
        low, high = (middle, high) if fits else (low, middle - 1)
    block = _cut_block(passage, low)
    return _context([block] if len(for_model(block.text)) >= SMALLEST_PART else [], budget)


def _cut_block(passage: Passage, length: int) -> ContextBlock:
    return ContextBlock(1, (passage,), (0,), passage.text[:length].rstrip())
