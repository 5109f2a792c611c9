"""What of a passage is read by the models: its text, and what tells where it stands."""

from __future__ import annotations

from ragqa.types import Passage


def indexed_text(passage: Passage) -> tuple[str, int]:
    """Return what is encoded of a passage, and where in it the passage's own text begins.

    The title and the headings go before the text, because a passage from the middle of a document
    seldom says what it is about. A first line that repeats the last heading is not said twice.
    """
    path = [step for step in (passage.title, *passage.headings) if step]
    if path and passage.text.lstrip("# ").startswith(path[-1]):
        path.pop()
    prefix = " > ".join(path)[:300]
    return (f"{prefix}\n{passage.text}", len(prefix) + 1) if prefix else (passage.text, 0)
