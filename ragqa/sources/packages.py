"""The long descriptions of the Python packages installed beside ragqa: a corpus every machine has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import Distribution, distributions
from typing import cast

from ragqa.sources.source import Item, Skipped, Source
from ragqa.sources.text import read_markup
from ragqa.types import Document

_FORMATS = {"text/markdown": "auto", "text/plain": "text", "text/x-rst": "text"}


def packages_source() -> Source:
    """Return one document per installed package: its summary and its long description."""
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        name = re.sub(r"[-_.]+", "-", distribution.name or "").lower()
        # Our own README quotes questions with their answers, and would be the best match for all of them.
        if name and name != "ragqa":
            found.setdefault(name, distribution)
    return Source("installed packages", _documents(dict(sorted(found.items()))), len(found))


def _documents(found: dict[str, Distribution]) -> Iterator[Item]:
    for name, distribution in found.items():
        # importlib.metadata gives an email.message.Message, and promises less.
        metadata = cast(Message, distribution.metadata)
        summary = str(metadata.get("Summary") or "").strip()
        payload = metadata.get_payload()
        description = str(metadata.get("Description") or payload or "").strip()
        if not description and not summary:
            yield Skipped(name, "no description")
            continue
        kind = str(metadata.get("Description-Content-Type") or "text/plain").split(";")[0].strip().lower()
        lead = f"{metadata['Name']}: {summary}" if summary else str(metadata["Name"])
        readable = read_markup(f"{lead}\n\n{description}", _FORMATS.get(kind, "text"))
        yield Document(
            id=name,
            title=str(metadata["Name"]),
            text=readable.text,
            source=_homepage(metadata.get("Home-page"), metadata.get_all("Project-URL") or []),
            metadata={"version": distribution.version},
            format=readable.format,
        )


def _homepage(home_page: str | None, project_urls: list[str]) -> str:
    if home_page and home_page.startswith("http"):
        return home_page
    urls = [url.partition(",")[2].strip() for url in project_urls]
    return next((url for url in urls if url.startswith("http")), "")
