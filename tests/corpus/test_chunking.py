from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ragqa.corpus.chunking import Chunker, has_prose
from ragqa.encoders.embedded.vocabulary import count_tokens
from ragqa.types import Document

MARKDOWN = """# Guide

Intro words.

## Install

Run this and wait until it is done.

```
# not a heading
```

### Linux

Use the package that your system brings along.

## Use

Call it as often as you like, from any folder.
"""


def test_every_piece_knows_the_headings_above_it() -> None:
    pieces = Chunker(16, 0).pieces(Document("d", "Guide", MARKDOWN))

    def headings(words: str) -> tuple[str, ...]:
        return next(piece.headings for piece in pieces if words in piece.text)

    assert headings("Intro words.") == ()
    assert headings("Use the package") == ("Install", "Linux")
    assert headings("Call it") == ("Use",)
    assert not any("not a heading" in step for piece in pieces for step in piece.headings)


def test_a_heading_or_a_badge_alone_is_no_piece() -> None:
    badge = "[![Tests](https://example.com/badge.svg)](https://example.com/tests)"
    long = "words without a break " * 30
    text = f"# Guide\n\n{badge}\n\n## Long\n\n{long}\n\n## Short\n\nFits."
    pieces = Chunker(60, 0).pieces(Document("d", "Guide", text))
    assert all(has_prose(piece.text) for piece in pieces)
    assert next(piece.headings for piece in pieces if "words" in piece.text) == ("Long",)
    assert "## Short\n\nFits." in pieces[-1].text
    (only,) = Chunker(60, 0).pieces(Document("d", "Guide", "# Nothing but a heading"))
    assert only.text == "# Nothing but a heading"


def test_plain_text_has_no_headings() -> None:
    (piece,) = Chunker(200, 0).pieces(Document("d", "T", "# looks like one\n\nwords", format="text"))
    assert piece.headings == ()


@settings(max_examples=60, deadline=None)
@given(
    text=st.lists(
        st.one_of(
            st.text(max_size=120),
            st.sampled_from(["# Heading", "## Sub", "```\ncode\n```", "- item", "é 語 🙂", "word " * 90]),
        )
    ).map("\n\n".join),
    format=st.sampled_from(["markdown", "text"]),
    overlap=st.sampled_from([0, 8]),
)
def test_pieces_are_slices_of_the_document_within_the_limit(text: str, format: str, overlap: int) -> None:
    document = Document("d", "Title", text.replace("\r", ""), format=format)  # type: ignore[arg-type]
    pieces = Chunker(32, overlap).pieces(document)
    for piece in pieces:
        assert piece.text == document.text[piece.start : piece.end]
        assert count_tokens(piece.text) <= 32
    if not overlap and format == "text":
        kept = "".join("".join(piece.text.split()) for piece in pieces)
        assert kept == "".join(document.text.split())
