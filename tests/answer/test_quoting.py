from __future__ import annotations

from ragqa.answer.quoting import WHOLE_CODE, quotations
from ragqa.answer.reading import Evidence, ReadText
from ragqa.answer.units import split_units


def text_of(text: str, *shares: float) -> ReadText:
    """Return a text whose units have these shares, in their order, 0 for those that are left."""
    units = split_units(text)
    padded = [*shares, *([0.0] * (len(units) - len(shares)))]
    return ReadText(
        text, 0.0, tuple(Evidence(unit, share, unit.start) for unit, share in zip(units, padded, strict=True))
    )


def quoted(text: str, *shares: float, **limits: int) -> list[str]:
    return [one.text for one in quotations([text_of(text, *shares)], **limits)]


def test_the_unit_with_most_evidence_comes_first_and_what_has_little_is_left_out() -> None:
    text = "Tea is green.\n\nCoffee is black.\n\nMilk is white."
    assert quoted(text, 0.3, 0.6, 0.01) == ["Tea is green.\n\nCoffee is black."]
    assert quoted(text, 0.3, 0.0, 0.6) == ["Milk is white.", "Tea is green."]
    assert quoted(text, 0.02, 0.95, 0.02) == ["Coffee is black."]
    assert quoted(text) == []


def test_what_is_too_long_for_the_rest_is_passed_over() -> None:
    text = "Tea is green.\n\nCoffee is as black as the night, or nearly.\n\nMilk is white."
    assert quoted(text, 0.5, 0.3, 0.2, words=7) == ["Tea is green.", "Milk is white."]
    assert quoted(text, 0.1, 0.8, 0.1, words=1) == ["Coffee is as black as the night, or nearly."]


def test_nothing_is_said_twice() -> None:
    both = [text_of("The sky is blue.", 0.4), text_of("**the sky** is blue", 0.3)]
    assert [one.place for one in quotations(both)] == [0]


def test_a_sentence_that_leans_on_the_one_before_brings_it_along() -> None:
    text = "What is the budget, roughly? It is 4,200 euros."
    assert quoted(text, 0.0, 0.9) == [text]


def test_a_row_is_read_with_the_names_of_its_columns() -> None:
    table = "| problem | cause | remedy |\n| --- | --- | --- |\n| lamp flickers | loose cap | tighten |"
    assert quoted(table, 0.9) == ["problem: lamp flickers; cause: loose cap; remedy: tighten"]


def test_an_introduction_never_stands_without_its_list_and_a_short_list_is_whole() -> None:
    text = "The five criteria are:\n\n- one\n- two\n- three\n- four\n- five\n\nThat is all of them."
    assert quoted(text, 0.9) == ["The five criteria are:\n- one\n- two\n- three\n- four\n- five"]
    assert quoted(text, 0, 0, 0, 0.9) == quoted(text, 0.9)


def test_a_list_below_a_heading_has_that_for_its_introduction() -> None:
    text = "It began in May.\n\n## The criteria for a bed ##\n\n- sun\n- water"
    assert quoted(text, 0, 0, 0.9) == ["The criteria for a bed:\n- sun\n- water"]


def test_rows_and_items_that_merely_look_alike_are_left_out() -> None:
    table = "| problem | remedy |\n| --- | --- |\n| lamp flickers | tighten |\n| pump hums | bleed it |"
    assert quoted(table, 0.8, 0.1) == ["problem: lamp flickers; remedy: tighten"]


def test_of_a_long_list_the_item_is_shown_with_what_introduces_it() -> None:
    items = "\n".join(f"- item {place} says {'very ' * 10}much" for place in range(9))
    (said,) = quoted(f"They are:\n\n{items}", 0, 0, 0, 0, 0.9)
    assert said.startswith("They are:\n")
    assert "item 3" in said
    assert "item 5" not in said


def test_a_heading_is_no_answer() -> None:
    assert quoted("# Remedies\n\nTighten the cap.", 0.0, 0.9) == ["Tighten the cap."]


def test_code_comes_with_the_line_that_introduces_it_whole_where_it_is_short() -> None:
    text = "Run this:\n```\nconvert -loop 0\n```\nThen look."
    assert quoted(text, 0, 0.9) == ["Run this:\n```\nconvert -loop 0\n```"]


def test_of_long_code_the_part_around_the_evidence_is_shown() -> None:
    lines = [f"line {place}" for place in range(3 * WHOLE_CODE)]
    text = "```python\n" + "\n".join(lines) + "\n```"
    (unit,) = split_units(text)
    peak = text.index("line 30")
    (said,) = quotations([ReadText(text, 0.0, (Evidence(unit, 0.9, peak),))])
    assert said.text.startswith("```python\n…\nline 26\n")
    assert said.text.endswith("line 34\n…\n```")


def test_code_that_began_before_the_passage_is_fenced() -> None:
    assert quoted("cat x\n```\nThen look.", 0.9) == ["```\ncat x\n```"]
