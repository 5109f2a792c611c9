"""Jupyter notebooks: a document of cells, each of which is a part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ragqa.sources.loader import File
from ragqa.sources.parts import Section, joined
from ragqa.sources.source import Item
from ragqa.sources.text import UnreadableError, clean, decode, read_file

# What a cell printed may be of any length, and says less the longer it is.
LONGEST_OUTPUT = 2_000


def read(file: File) -> Iterator[Item]:
    """Yield the notebook's document; raises UnreadableError for what is no notebook."""
    try:
        notebook = json.loads(decode(read_file(file.path)))
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]
        language = str(notebook.get("metadata", {}).get("kernelspec", {}).get("language", "python"))
        sections = [Section(str(number), _cell(cell, language)) for number, cell in enumerate(cells, 1)]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UnreadableError("not a notebook") from error
    yield joined(file, "cell", sections)


def _cell(cell: dict[str, Any], language: str) -> str:
    source = _text(cell.get("source", cell.get("input", "")))
    if cell["cell_type"] != "code":
        return source
    outputs = "\n".join(_output(output) for output in cell.get("outputs", []))
    shown = f"\n\n```\n{outputs.strip()[:LONGEST_OUTPUT]}\n```" if outputs.strip() else ""
    return f"```{language}\n{source}\n```{shown}" if source.strip() else ""


def _output(output: dict[str, Any]) -> str:
    return _text(output.get("text") or output.get("data", {}).get("text/plain") or "")


def _text(value: Any) -> str:
    return clean("".join(map(str, value)) if isinstance(value, list) else str(value))
