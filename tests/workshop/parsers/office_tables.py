"""The tables about documents other than PDF."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.workshop.parsers import office_docs
from tests.workshop.parsers.measure import licence, megabytes, outcome, quietly, seconds, version
from tests.workshop.parsers.office_readers import OfficeReader, office_readers


def office_tables(folder: Path, scratch: Path) -> Iterator[str]:
    """Yield the lines of the tables."""
    installed = [one for one in office_readers() if not one.package or version(one.package)]
    documents = office_docs.generate(scratch)
    yield "| document | library | version | kept | lost | ms | ratio | MB | licence |"
    yield "| --- | --- | --- | --- | --- | ---: | ---: | ---: | --- |"
    for document in documents:
        first: float | None = None
        for reader in _for(installed, document.path):
            kept, lost = _features(reader, document)
            took = _milliseconds(reader, document.path) if kept else 0.0
            first = first or took or None
            yield (
                f"| {document.path.suffix} | {reader.name} | {_about(reader)[0]} | {kept} | {lost}"
                f" | {took:.1f} | {took / (first or 1):.1f} | {_about(reader)[1]} |"
            )
    yield ""
    yield "| file | library | came back | ms |"
    yield "| --- | --- | --- | ---: |"
    for path in sorted(folder.iterdir()):
        for reader in _for(installed, path):
            came = outcome(partial(reader.read, path))
            time = "-" if came.startswith("`") else f"{_milliseconds(reader, path):.1f}"
            yield f"| {path.name} | {reader.name} | {came} | {time} |"
    yield ""


def _for(installed: list[OfficeReader], path: Path) -> list[OfficeReader]:
    return [reader for reader in installed if path.suffix in reader.suffixes]


def _milliseconds(reader: OfficeReader, path: Path) -> float:
    return 1000 * seconds(partial(reader.read, path))


def _features(reader: OfficeReader, document: office_docs.Document) -> tuple[str, str]:
    try:
        text = quietly(partial(reader.read, document.path))
    except Exception as error:
        return "", f"all: `{type(error).__name__}`"
    kept = [name for name, pattern in document.features.items() if re.search(pattern, text)]
    lost = [name for name in document.features if name not in kept]
    return ", ".join(kept), ", ".join(lost)


def _about(reader: OfficeReader) -> tuple[str, str]:
    if not reader.package:
        return "-", "0 | Python's"
    return version(reader.package) or "", f"{megabytes([reader.package]):.1f} | {licence(reader.package)}"
