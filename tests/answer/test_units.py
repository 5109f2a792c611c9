from __future__ import annotations

import pytest

from ragqa.answer.units import begins_in_code, split_units

MARKDOWN = """# Lamps

A lamp has a cap. It gets loose.

The three remedies are:

- Tighten it. Not too much.
- Change it.
    - A nested one.

| problem | cause | remedy |
| --- | --- | --- |
| lamp flickers | loose cap | tighten |

Run this:
```bash
lamp --on

lamp --off
```

> Quoted text.
"""


def kinds(text: str) -> list[tuple[str, str]]:
    return [(unit.kind, text[unit.start : unit.end]) for unit in split_units(text)]


def test_markdown_is_cut_along_its_blocks() -> None:
    assert kinds(MARKDOWN) == [
        ("heading", "# Lamps"),
        ("sentence", "A lamp has a cap."),
        ("sentence", "It gets loose."),
        ("sentence", "The three remedies are:"),
        ("item", "- Tighten it."),
        ("item", "Not too much."),
        ("item", "- Change it."),
        ("item", "- A nested one."),
        ("row", "| lamp flickers | loose cap | tighten |"),
        ("sentence", "Run this:"),
        ("code", "```bash\nlamp --on\n\nlamp --off\n```"),
        ("sentence", "> Quoted text."),
    ]


def test_what_is_not_understood_alone_needs_what_it_leans_on() -> None:
    units = split_units(MARKDOWN)
    said = {MARKDOWN[unit.start : unit.end]: unit for unit in units}

    def need(text: str) -> str | None:
        needs = said[text].needs
        return None if needs is None else MARKDOWN[units[needs].start : units[needs].end]

    assert need("A lamp has a cap.") is None
    assert need("It gets loose.") == "A lamp has a cap."
    assert need("- Tighten it.") == need("- Change it.") == "The three remedies are:"
    assert need("Not too much.") == "- Tighten it."
    assert need("```bash\nlamp --on\n\nlamp --off\n```") == "Run this:"
    assert said["| lamp flickers | loose cap | tighten |"].columns == ("problem", "cause", "remedy")


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("cat x\n```\nThen this.\n```python\nprint(1)\n```", True),
        ("Run:\n```python\nprint(1)\n```\nDone.", False),
        ("cat x | sort\n```\nDone.", True),
        ("Run this:\n```\ncat x", False),
        ("No code at all.", False),
        ("", False),
    ],
)
def test_a_passage_may_begin_within_code(text: str, inside: bool) -> None:
    assert begins_in_code(text) is inside


def test_code_that_began_before_is_code() -> None:
    assert kinds("cat x\n  y\n```\nThen this.")[:2] == [
        ("code", "cat x\n  y\n```"),
        ("sentence", "Then this."),
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "```", "|", "- ", "| a |\n| - |", "> > >", "# ", "    x\n"])
def test_any_text_has_units_that_do_not_overlap(text: str) -> None:
    units = split_units(text)
    ends = [0, *(unit.end for unit in units)]
    assert all(end <= unit.start < unit.end <= len(text) for end, unit in zip(ends, units, strict=False))
