"""Folders and files: each file by the loader of its kind, and what none reads by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from ragqa.sources import registry
from ragqa.sources.loader import File
from ragqa.sources.source import DATES, Item, Skipped, Source
from ragqa.sources.text import UnreadableError, clean
from ragqa.sources.walk import Choice, walk
from ragqa.types import Document


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read: `format` is what text is written in, or "auto"; `password` opens encrypted ones."""

    format: str = "auto"
    password: str = ""


def folder_source(root: Path, reading: Reading, choice: Choice | None = None) -> Source:
    """Return the files under `root` that are wanted (walk.py says which)."""
    found = walk(root, choice)

    def items() -> Iterator[Item]:
        yield from found.skipped
        yield from _read(root, found.paths, reading)

    total = len(found.paths) + len(found.skipped)
    return Source(clean(str(root.resolve())), items(), total, left_out=found.left_out)


def files_source(root: Path, paths: Sequence[Path], reading: Reading) -> Source:
    """Return the files `paths` of the folder `root`, known by their paths inside it."""
    return Source(clean(str(root.resolve())), _read(root, paths, reading), len(paths), whole=False)


def _read(root: Path, paths: Sequence[Path], reading: Reading) -> Iterator[Item]:
    for path in paths:
        # A name may be no text at all; what is stored must be.
        name = clean(path.relative_to(root).as_posix())
        if not path.is_file():
            yield Skipped(name, "not a regular file")
            continue
        file = File(path, name, clean(str(path)), reading.format, reading.password)
        try:
            for item in registry.read(file, path.suffix.lower()):
                yield _dated(item, path) if isinstance(item, Document) else item
        except UnreadableError as error:
            yield Skipped(name, str(error), unread=True)
        except OSError as error:
            yield Skipped(name, f"cannot be read ({error.strerror or error})", unread=True)


def _dated(document: Document, path: Path) -> Document:
    """Return a document with the time of its file, where it says no date of its own."""
    if DATES & document.metadata.keys():
        return document
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return replace(document, metadata={**document.metadata, "modified": modified})
