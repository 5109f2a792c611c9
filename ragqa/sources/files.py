"""Folders and files of Markdown, HTML and plain text: one document per file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ragqa.sources.source import DATES, Skipped, Source
from ragqa.sources.text import UnreadableError, clean, clean_title, decode, read_file, read_markup
from ragqa.types import Document

TEXT_SUFFIXES = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".txt": "text",
    ".rst": "text",
}


def folder_source(root: Path, format: str) -> Source:
    """Return every text file under `root`; hidden files and folders and linked folders are left out."""
    paths: list[Path] = []
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        paths.extend(
            Path(folder, file)
            for file in sorted(files)
            if not file.startswith(".") and Path(file).suffix.lower() in TEXT_SUFFIXES
        )
    return Source(clean(str(root.resolve())), _read(root, paths, format), len(paths))


def files_source(root: Path, paths: Sequence[Path], format: str) -> Source:
    """Return the files `paths` of the folder `root`, known by their paths inside it."""
    return Source(clean(str(root.resolve())), _read(root, paths, format), len(paths), whole=False)


def _read(root: Path, paths: Sequence[Path], format: str) -> Iterator[Document | Skipped]:
    for path in paths:
        # A name may be no text at all; what is stored must be.
        name = clean(path.relative_to(root).as_posix())
        if not path.is_file():
            yield Skipped(name, "not a regular file")
            continue
        try:
            yield _document(path, name, format)
        except UnreadableError as error:
            yield Skipped(name, str(error), unread=True)
        except OSError as error:
            yield Skipped(name, f"cannot be read ({error.strerror or error})", unread=True)


def _document(path: Path, name: str, format: str) -> Document | Skipped:
    kind = TEXT_SUFFIXES.get(path.suffix.lower(), "auto") if format == "auto" else format
    readable = read_markup(decode(read_file(path)), kind)
    if not readable.text.strip():
        return Skipped(name, "empty")
    metadata = dict(readable.metadata)
    if not DATES & metadata.keys():
        modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        metadata["modified"] = modified.isoformat(timespec="seconds")
    title = readable.title or clean_title(path.stem)
    return Document(name, title, readable.text, clean(str(path)), metadata, readable.format)
