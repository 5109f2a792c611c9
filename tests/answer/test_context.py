from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ragqa.answer.context import Budget, assemble, assemble_sentences, parse, render
from ragqa.answer.evidence import Sentence
from ragqa.types import ContextBlock, Hit, Passage


def passage(document: str, ordinal: int, text: str, start: int | None = None) -> Passage:
    start = 1000 * ordinal if start is None else start
    metadata = {"created": "2024-03-01T10:00:00"}
    return Passage(
        hash((document, ordinal)), document, ordinal, start, start + len(text), document.title(), (), text,
        f"{document}.md", metadata,
    )  # fmt: skip


def hits(*passages: Passage) -> list[Hit]:
    return [Hit(p, rank, 1 / rank, {"fts": 1 / rank}) for rank, p in enumerate(passages, 1)]


def words(text: str) -> int:
    return len(text.split())


def budget(tokens: int = 1000, passages: int = 6) -> Budget:
    return Budget(tokens, passages, words)


def test_blocks_are_numbered_best_first_with_title_date_and_source() -> None:
    context = assemble(hits(passage("tea", 0, "Steep it."), passage("coffee", 0, "Brew it.")), budget())
    assert context.text == (
        "[1] Tea (2024-03-01, tea.md)\nSteep it.\n\n[2] Coffee (2024-03-01, coffee.md)\nBrew it."
    )
    assert context.tokens == words(context.text)


def test_neighbours_become_one_block_in_reading_order() -> None:
    context = assemble(
        hits(passage("tea", 2, "Third."), passage("coffee", 0, "Brew."), passage("tea", 1, "Second.")),
        budget(),
    )
    assert [block.text for block in context.blocks] == ["Second.\n\nThird.", "Brew."]
    assert [block.number for block in context.blocks] == [1, 2]


def test_a_passage_that_joins_two_blocks_makes_them_one() -> None:
    parts = [passage("tea", 0, "A."), passage("tea", 2, "C."), passage("tea", 1, "B.")]
    (block,) = assemble(hits(*parts), budget()).blocks
    assert block.text == "A.\n\nB.\n\nC."


def test_what_overlapping_passages_share_is_said_once() -> None:
    first = passage("tea", 0, "one two three", start=0)
    second = passage("tea", 1, "three four", start=8)
    (block,) = assemble(hits(first, second), budget()).blocks
    assert block.text == "one two three four"


def test_a_passage_said_already_is_dropped() -> None:
    context = assemble(hits(passage("a", 0, "Same  words."), passage("b", 0, "Same words.")), budget())
    assert len(context.blocks) == 1


def test_the_budget_holds_and_smaller_passages_fill_the_rest() -> None:
    parts = [passage("a", 0, "w " * 30), passage("b", 0, "w x " * 90), passage("c", 0, "y " * 10)]
    context = assemble(hits(*parts), budget(tokens=60))
    assert [block.first.document_id for block in context.blocks] == ["a", "c"]
    assert context.tokens <= 60


def test_a_first_passage_too_large_is_cut_to_fit() -> None:
    context = assemble(hits(passage("a", 0, "word " * 500)), budget(tokens=50))
    assert 40 <= context.tokens <= 50


def test_at_most_so_many_passages() -> None:
    parts = [passage(f"d{n}", 0, f"text {n}") for n in range(9)]
    assert len(assemble(hits(*parts), budget(passages=3)).blocks) == 3


@given(
    st.lists(st.text(alphabet=st.sampled_from("[]12 a\nQ:"), min_size=1, max_size=40), min_size=1, max_size=4)
)
def test_no_passage_can_begin_another(texts: list[str]) -> None:
    blocks = [ContextBlock(n, (passage("d", n, text),), (0,), text) for n, text in enumerate(texts, 1)]
    assert [number for number, _ in parse(render(blocks))] == list(range(1, len(texts) + 1))


def by_length(question: str, blocks: Sequence[ContextBlock]) -> list[list[Sentence]]:
    ranked = []
    for each in blocks:
        spans, start = [], 0
        for part in each.text.split(". "):
            spans.append(Sentence(start, start + len(part), part, float(len(part))))
            start += len(part) + 2
        ranked.append(spans)
    return ranked


def test_selected_sentences_are_the_best_of_each_passage_in_reading_order() -> None:
    parts = [passage("a", 0, "aaaa. b. cccc. ddd. e"), passage("b", 0, "ffff. g")]
    context = assemble_sentences(hits(*parts), budget(), "q", by_length)
    assert [block.text for block in context.blocks] == ["aaaa … cccc", "ffff"]


def test_selected_sentences_fit_by_dropping_the_weakest() -> None:
    parts = [passage("a", 0, "aaaa. b. cccc. ddd. e"), passage("b", 0, "ffff. g")]
    context = assemble_sentences(hits(*parts), budget(tokens=11), "q", by_length)
    assert context.tokens <= 11
    assert [block.text for block in context.blocks] == ["aaaa", "ffff"]


def test_passages_without_a_sentence_are_given_whole() -> None:
    context = assemble_sentences(hits(passage("a", 0, "# Only")), budget(), "q", lambda q, blocks: [[]])
    assert [block.text for block in context.blocks] == ["# Only"]
