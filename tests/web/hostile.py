"""A corpus whose every word would do something, if a page let it."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import fill

# What of it must be there to read.
PIECES = (
    '"><script>window.hit = 1</script>',
    '<img src=x onerror="window.hit = 2">',
    '<a href="javascript:window.hit = 3">tea</a>',
    "</textarea></title></style>",
)
HOSTILE = " ".join(PIECES) + " {{ 7 * 7 }} \u202eaet"


def hostile_corpus(folder: Path) -> Path:
    """Return a corpus of one document that is hostile in title, id, heading and text."""
    source = folder / "hostile"
    source.mkdir()
    name = "a\"'><svg onload=window.hit=4>.md"
    (source / name.replace("/", "")).write_text(
        f"# Green tea {HOSTILE}\n\nGreen tea is {HOSTILE}\n\n## {HOSTILE}\n\nMore green tea.",
        encoding="utf-8",
    )
    fill(folder / "hostile.db", source)
    return folder / "hostile.db"
