"""Mutated files of each kind that is read: none may do more harm than be passed over and named."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from ragqa.sources import registry
from ragqa.sources.loader import File
from ragqa.sources.text import UnreadableError
from ragqa.types import Document
from tests.conftest import SHARED
from tests.sources import test_documents, test_kinds

# A place in the file, as a share of it, and what is written there; None: the file ends there.
Change = tuple[float, bytes | None]
changes = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.none() | st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 64, b"<" * 200]),
    ),
    max_size=4,
)


def seeds(folder: Path) -> list[Path]:
    """Write a whole file of each kind, and return them with the real ones that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    notebook = {"cells": [{"cell_type": "code", "source": "1", "outputs": []}]}
    texts = {
        "a.md": "---\ntitle: A\n---\n# A\n\nWords.",
        "a.html": "<h1>A</h1><p>Words.</p>",
        "a.rst": "A\n===\n\nWords.",
        "a.org": "* A\nWords.",
        "a.tex": "\\section{A}\nWords.",
        "a.adoc": "= A\n\nWords.",
        "a.csv": "a,b\n1,2\n",
        "a.json": '{"a": [1, {"b": "c"}]}',
        "a.xml": "<a><b>Words.</b></a>",
        "a.py": test_kinds.PYTHON,
        "a.js": "function a() {\n  return 1\n}\n",
        "a.rtf": "{\\rtf1\\ansi Words.\\par}",
        "a.ipynb": json.dumps(notebook),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    message = test_kinds.message("Keys", "With the porter.")
    message.add_attachment(b"# Keys", maintype="text", subtype="markdown", filename="keys.md")
    (folder / "a.eml").write_bytes(message.as_bytes())
    (folder / "a.mbox").write_bytes(b"From ada Mon Mar  4 10:00:00 2024\n" + message.as_bytes() + b"\n")
    test_kinds.book(folder / "a.epub")
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("inner/a.md", "# A\n\nWords.")
    test_documents.docx(folder / "a.docx")
    test_documents.pdf(
        folder / "a.pdf", test_documents.lines("Words."), test_documents.lines("More."), title="A"
    )
    real = SHARED / "documents"
    others = sorted(real.iterdir()) if real.is_dir() else []
    return [*sorted(folder.iterdir()), *(path for path in others if registry.loader_of(path.suffix))]


def mutated(
    folder: Path,
) -> tuple[st.SearchStrategy[tuple[int, list[Change]]], Callable[[tuple[int, list[Change]]], object]]:
    """Return a strategy of changes to whole files, and what reads one that was changed."""
    whole = seeds(folder / "whole")

    def run(case: tuple[int, list[Change]]) -> None:
        number, wanted = case
        raw = bytearray(whole[number].read_bytes())
        for share, change in wanted:
            place = int(share * len(raw))
            if change is None:
                del raw[place:]
            else:
                raw[place : place + len(change)] = change
        path = folder / f"changed{whole[number].suffix}"
        path.write_bytes(raw)
        try:
            for item in registry.read(File(path, path.name, str(path)), path.suffix):
                if isinstance(item, Document):
                    json.dumps(dict(item.metadata))
                    item.text.encode()
        except UnreadableError as error:
            if not str(error).strip():
                raise TypeError("an error without a reason") from error

    return st.tuples(st.integers(0, len(whole) - 1), changes), run
