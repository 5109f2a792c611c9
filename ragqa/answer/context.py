"""The context: the best passages, numbered, merged where they touch, within a budget of tokens."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragqa.answer.evidence import NEARLY, SentenceRanker
from ragqa.types import Context, ContextBlock, Hit, Passage

DATE_NAMES = ("created", "date", "published", "updated", "modified")
# A part of a passage smaller than this says too little to be worth its header.
SMALLEST_PART = 24
SENTENCES_PER_PASSAGE = 3

_GAP = "\n\n"
_LOOKS_NUMBERED = re.compile(r"^(?=\[\d+\])", re.M)
_HEADER = re.compile(r"^\[(\d+)\] ", re.M)


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
    """Return the blocks as the model reads them: "[1] title (date, source)", then the text.

    A line of the text that looks like such a number is moved one space in, so that no passage can
    begin another.
    """
    return "\n\n".join(f"{_header(block)}\n{_LOOKS_NUMBERED.sub(' ', block.text)}" for block in blocks)


def parse(text: str) -> list[tuple[int, str]]:
    """Return the numbers and texts of the blocks in a rendered context, headers left out."""
    starts = [*_HEADER.finditer(text), None]
    blocks = []
    for this, following in itertools.pairwise(starts):
        assert this is not None
        body = text[this.end() : following.start() if following else len(text)]
        blocks.append((int(this.group(1)), body.partition("\n")[2].strip()))
    return blocks


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
    title = " > ".join(step for step in (passage.title or passage.document_id, *passage.headings) if step)
    about = ", ".join(part for part in (passage_date(passage), passage.source) if part)
    return f"[{block.number}] {title} ({about})" if about else f"[{block.number}] {title}"


def _context(blocks: Sequence[ContextBlock], budget: Budget) -> Context:
    text = render(blocks)
    return Context(text, tuple(blocks), budget.count(text) if text else 0)


def _blocks(passages: Sequence[Passage]) -> list[ContextBlock]:
    """Number the passages, those that touch joined at the place of the first of them."""
    groups: list[list[Passage]] = []
    for passage in passages:
        touching = [
            group
            for group in groups
            if any(
                other.document_id == passage.document_id and abs(other.ordinal - passage.ordinal) == 1
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
    if low < SMALLEST_PART:
        return _context([], budget)
    return _context([_cut_block(passage, low)], budget)


def _cut_block(passage: Passage, length: int) -> ContextBlock:
    return ContextBlock(1, (passage,), (0,), passage.text[:length].rstrip())
